"""The configuration that this project's Pulumi.yaml declares, as the real engine passes it to the program."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.parse import load, parse
from system.files import CHECKOUT
from tests.support.certificates import pair
from tests.support.ssh_keys import HOST_KEY, PRIVATE_KEY
from tests.support.stacks import configuration

PROGRAM = f"""\
import json, sys
from pathlib import Path

import pulumi

sys.path.insert(0, {str(CHECKOUT)!r})
from lab.config.parse import ConfigurationError, parse, secret_values

values = pulumi.runtime.config.CONFIG.get()
Path("values.json").write_text(json.dumps(values))
try:
    keys = filter(pulumi.runtime.config.is_config_secret, values)
    spec = parse(values, secret=secret_values(values, keys, Path(f"Pulumi.{{pulumi.get_stack()}}.yaml")))
    Path("secrets.json").write_text(json.dumps(sorted(spec.secrets)))
except ConfigurationError as error:
    raise pulumi.RunError(str(error)) from None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with this project's Pulumi.yaml. Its program reads the configuration and creates nothing."""
    project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text(encoding="utf-8"))
    project["runtime"]["options"]["virtualenv"] = sys.prefix
    (tmp_path / "Pulumi.yaml").write_text(yaml.safe_dump(project, sort_keys=False), encoding="utf-8")
    (tmp_path / "__main__.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "state").mkdir()
    pulumi(tmp_path, "stack", "init", "dev")
    return tmp_path


def pulumi(folder: Path, *arguments: str, fails: bool = False, stdin: str = "") -> str:
    """Run the engine and return its output. It must succeed, or fail if `fails` is set."""
    variables = {"PULUMI_BACKEND_URL": f"file://{folder / 'state'}", "PULUMI_CONFIG_PASSPHRASE": "of this test"}
    result = subprocess.run(
        ["pulumi", *arguments, "--non-interactive", "--color=never"],
        cwd=folder,
        env=os.environ | variables,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (result.returncode != 0) == fails, result.stdout
    return result.stdout


def configure(folder: Path, values: dict[str, Any]) -> None:
    """Set the stack's values and keep the salt of the engine."""
    file = folder / "Pulumi.dev.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(yaml.safe_dump((document or {}) | {"config": values}, sort_keys=False), encoding="utf-8")


def received(folder: Path) -> dict[str, Any]:
    """Return the configuration that the program received."""
    values: dict[str, Any] = json.loads((folder / "values.json").read_text(encoding="utf-8"))
    return values


def test_empty_configuration_has_the_defaults(folder: Path) -> None:
    pulumi(folder, "preview")
    assert len(received(folder)) == len(yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text("utf-8"))["config"])
    assert parse(received(folder)) == parse({})


def test_engine_and_loader_give_the_same_values(folder: Path) -> None:
    configure(
        folder,
        {
            "hardway:maxUnavailable": "50%",
            "hardway:clusterDnsAddon": False,
            "hardway:tlsBootstrap": True,
            "hardway:layout": {"kubeletKey": "/etc/kubernetes/pki/{name}.key"},
            "hardway:certificateRenewalHours": 24,
            "hardway:kubelet": {"maxPods": 50, "seccompDefault": None, "imageGCLowThresholdPercent": 70},
            "hardway:etcdFlags": {"quota-backend-bytes": 4294967296, "pre-vote": True},
            "hardway:workers": [
                {
                    "name": "node-0",
                    "address": "10.240.0.20",
                    "podCidr": "10.200.0.0/24",
                    "memory": 1024,
                    "labels": {"disk": "ssd"},
                    "taints": ["a=b:NoSchedule"],
                }
            ],
        },
    )
    pulumi(folder, "preview")
    assert parse(received(folder)) == load(folder / "Pulumi.dev.yaml")


def test_single_field_is_set_from_command_line(folder: Path) -> None:
    pulumi(folder, "config", "set", "--path", "hardway:kubelet.maxPods", "50")
    pulumi(folder, "preview")
    assert parse(received(folder)).workers[0].kubelet == {"maxPods": 50}


def test_all_problems_are_in_one_message(folder: Path) -> None:
    configure(
        folder,
        {
            "hardway:healthTimeoutSeconds": "soon",
            "hardway:kubelet": "maxPods",
            "hardway:clusterDnsAddon": "perhaps",
            "hardway:maxUnavailabel": 2,
        },
    )
    output = pulumi(folder, "preview", "--skip-config-validation", fails=True)
    assert "The configuration has 4 problems; nothing was changed." in output
    for key in ("healthTimeoutSeconds = ", "kubelet = ", "clusterDnsAddon = ", "maxUnavailabel = "):
        assert f"- hardway:{key}" in output
    assert "Traceback" not in output


def test_engine_rejects_a_wrong_type(folder: Path) -> None:
    configure(folder, {"hardway:healthTimeoutSeconds": "soon"})
    output = pulumi(folder, "preview", fails=True)
    assert "'healthTimeoutSeconds' must be of type 'integer'" in output
    assert not (folder / "values.json").exists()


def test_object_secrets_are_never_in_a_message(folder: Path) -> None:
    certificate, key = pair("kubernetes-ca")
    values = configuration("join") | {"join": {"endpoint": "https://10.240.0.10:6443"}}
    configure(folder, {f"hardway:{name}": value for name, value in values.items()})
    pulumi(folder, "config", "set", "--path", "hardway:join.caCertificate", stdin=certificate)
    pulumi(folder, "config", "set", "--path", "--secret", "hardway:join.caKey", stdin=key)
    assert "secure:" in (folder / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    pulumi(folder, "preview")
    spec = parse(received(folder))
    assert spec.join
    assert spec.join.signer
    assert (spec.join.signer.certificate.text, spec.join.signer.key.text) == (certificate, key)
    # Only the engine knows that an object with a misspelled key contains secrets.
    pulumi(folder, "config", "set", "--path", "--secret", "hardway:joined.caKey", stdin=key)
    output = pulumi(folder, "preview", "--skip-config-validation", fails=True)
    assert "hardway:joined: is an unknown key" in output
    assert "BEGIN" not in output


def test_machine_private_key_is_secret_and_complete(folder: Path) -> None:
    machine = {"user": "debian", "hostKey": HOST_KEY}
    worker = {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24", "machine": machine}
    configure(folder, {"hardway:workers": [worker]})
    key = "hardway:workers[0].machine.privateKey"
    pulumi(folder, "config", "set", "--secret", "--path", key, stdin=PRIVATE_KEY)
    text = (folder / "Pulumi.dev.yaml").read_text(encoding="utf-8")
    assert not [line for line in PRIVATE_KEY.splitlines() if line in text]
    assert PRIVATE_KEY.splitlines()[1] not in pulumi(folder, "preview")
    [node] = parse(received(folder)).workers
    assert getattr(node.machine, "private_key", None) == PRIVATE_KEY


def test_program_knows_exactly_which_values_are_secret(folder: Path) -> None:
    configure(folder, {"hardway:containerd": {"stream_processors": {"x": {"path": "/plain", "args": ["a", "b"]}}}})
    pulumi(
        folder, "config", "set", "--secret", "--path", "hardway:containerd.stream_processors.x.args[1]", "S3cret-4711"
    )
    pulumi(folder, "preview")
    assert json.loads((folder / "secrets.json").read_text()) == ["S3cret-4711"]
    pulumi(folder, "config", "set", "--secret", "--path", "hardway:kubeProxy.mode", "S3cret-4712")
    output = pulumi(folder, "preview", fails=True)
    assert "hardway:kubeProxy.mode: is held as secret" in output
    assert "S3cret-4712" not in output
