"""Secrets in etcd, the life of an encryption key, the audit log and anonymous requests."""

import json
import re

from lab.pki import ADMIN_USER
from tests.support.etcd import encryption_prefixes, stored_secret
from tests.support.running_lab import RunningLab, wait_for

SERVER = "server"
TEXT = "not-readable-in-etcd"
CHANGED_BY_A_KEY = {(SERVER, "kube-apiserver"), (SERVER, "encryption")}


def test_a_secret_is_unreadable_in_etcd_and_audit_log(lab: RunningLab) -> None:
    lab.kubectl("create", "secret", "generic", "hidden", f"--from-literal=password={TEXT}")
    stored = stored_secret(lab, SERVER, "hidden")
    assert stored.startswith("/registry/secrets/default/hiddenk8s:enc:secretbox:v1:key-1:")
    assert TEXT not in stored
    logged = 'grep \'"resource":"secrets"\' /var/log/kubernetes/audit.log | grep hidden | grep \'"verb":"create"\''
    wait_for("the audit log has the Secret", lambda: lab.ssh(SERVER, logged, check=False) != "")
    event = json.loads(lab.ssh(SERVER, logged).splitlines()[-1])
    assert (event["level"], event["user"]["username"]) == ("Metadata", ADMIN_USER)
    assert "requestObject" not in event
    assert lab.ssh(SERVER, f"grep -c {TEXT} /var/log/kubernetes/audit.log", check=False).strip() == "0"
    assert lab.ssh(SERVER, "stat -c %a /var/log/kubernetes /var/log/kubernetes/audit.log").split() == ["700", "600"]


def test_anonymous_requests_are_refused(lab: RunningLab) -> None:
    address = lab.nodes[SERVER]["address"]
    request = f"curl -sk -o /dev/null -w %{{http_code}} https://{address}:6443/healthz"
    assert lab.ssh(SERVER, request) == "401"


def test_a_key_is_added_preferred_and_removed(lab: RunningLab) -> None:
    with lab.configured(encryption={"keys": ["key-2", "key-1", "identity"]}):
        preview = lab.preview()
        assert f"kube-apiserver on {SERVER} will restart: encryption-config.json" in preview
        # The engine shows the document as a text, or field by field.
        assert re.search(r'secret"? *: "SHA256:', preview.replace("\\", ""))
        assert lab.restarts(lambda: lab.up()) == CHANGED_BY_A_KEY
        assert encryption_prefixes(lab, SERVER) == {"k8s:enc:secretbox:v1:key-2"}
        assert TEXT in lab.kubectl("get", "secret", "hidden", "--output=go-template={{.data.password | base64decode}}")
        assert "key-2" in lab.ssh(SERVER, "cat /var/lib/hardway/encryption")
        assert lab.verify() == []

        lab.configure(encryption={"keys": ["key-1"]})
        before = lab.invocations()
        refused = lab.up()
        assert not refused.succeeded
        assert "are encrypted with the key key-2, and the new configuration cannot read them" in refused.output
        assert lab.invocations() == before
    # Back to the keys of the stack: key-1 encrypts again, and key-2 goes. Phase by phase, nothing is unreadable.
    with lab.configured(encryption={"keys": ["key-1", "key-2", "identity"]}):
        assert lab.up().succeeded
        assert encryption_prefixes(lab, SERVER) == {"k8s:enc:secretbox:v1:key-1"}
    assert lab.up().succeeded
    lab.kubectl("delete", "secret", "hidden")
    assert lab.verify() == []
