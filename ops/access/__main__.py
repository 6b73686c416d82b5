"""Creates a kubeconfig for a user, with a certificate that the cluster signs for some hours.

Exit code: 0 if the kubeconfig is written, 2 if not.
"""

import argparse
import secrets
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from host.workspace import Workspace
from lab.certificates import Certificate
from lab.config.x509 import certificates
from lab.node import kubeconfig
from lab.pki import ADMIN_USER, SUPER_ADMIN_USER, identities
from lab.spec import Spec
from ops.access.signing import TIMEOUT, SigningRequest, max_hours, sign
from ops.access.user import AccessError, User, certificate_request, check_user, create_key, key_text
from ops.certificates import client_certificate_in
from ops.clients import Commands, kubeconfig_file, read_outputs
from ops.command_line import OK, parse, parser, report_error
from ops.stack_file import read_stack
from system import console
from system.errors import HardwayError
from system.files import CHECKOUT, write_atomically

DEFAULT_HOURS = 8

TOLERANCE = timedelta(minutes=15)
"""The time by which a certificate may end early. The signer predates certificates by five minutes."""


def main(
    arguments: Sequence[str] | None = None,
    commands: Commands | None = None,
    checkout: Path = CHECKOUT,
    timeout: float = TIMEOUT,
) -> int:
    """Create the kubeconfig and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        commands: Reads the stack.
        checkout: Folder of the stack files and of `.lab`.
        timeout: Seconds that the cluster may take to sign.
    """
    options_parser = parser(
        "access",
        "Creates a kubeconfig for a user, with a certificate that the cluster signs for some hours.",
        "Exit code: 0 the kubeconfig is written, 2 it is not.",
        has_json=False,
    )
    options_parser.add_argument("--user", required=True, metavar="NAME", help="name of the user")
    options_parser.add_argument("--group", action="append", default=[], help="group of the user; repeat it for more")
    options_parser.add_argument("--hours", type=int, metavar="N", help=f"validity (default: {DEFAULT_HOURS})")
    options_parser.add_argument("--output", type=Path, metavar="FILE", help="file to write")
    options = parse(options_parser, arguments)
    user = User(name=options.user, groups=tuple(dict.fromkeys(options.group)))
    workspace, stack = Workspace(checkout), options.stack.rpartition("/")[2]
    path = (options.output or workspace.user_kubeconfig(stack, user.name)).absolute()
    try:
        certificate = _create(options, user, path, commands or Commands(), checkout, timeout)
    except HardwayError as error:
        return report_error(f"there is no kubeconfig for {user.name}: {error}")
    print(path if options.quiet else _instructions(user, path, certificate))
    return OK


def _create(
    options: argparse.Namespace, user: User, path: Path, commands: Commands, checkout: Path, timeout: float
) -> Certificate:
    """Write the kubeconfig of a user and return the certificate in it. Everything is checked before it is signed."""
    spec = read_stack(options.stack, checkout, commands).spec
    own_users = {identity.common_name for identity in identities(spec).values()}
    check_user(user, {*own_users, ADMIN_USER, SUPER_ADMIN_USER})
    hours = _hours(options.hours, spec)
    outputs = read_outputs(commands, options.stack)
    if outputs.kubeconfig is None:
        raise AccessError(
            "the stack has no administrator of its cluster, who must approve the certificate. Set hardway:join.caKey "
            "or hardway:join.kubeconfig, or ask the administrator of the cluster for a kubeconfig"
        )
    _check_place(path, user, is_default=options.output is None)
    key = create_key()
    with kubeconfig_file(outputs.kubeconfig) as file:
        signing = SigningRequest(file, f"hardway-access-{secrets.token_hex(4)}")
        console.say(f"asking the cluster for a certificate of {user.name}")
        asked = datetime.now(UTC)
        text = sign(signing, certificate_request(user, key), hours, timeout=timeout)
    certificate = certificates(text)[0]
    if certificate.not_after < asked + timedelta(hours=hours) - TOLERANCE:
        console.warn(f"hardway: the cluster signed the certificate for less than {hours} hours")
    texts = {"authority": outputs.certificate_authority, "certificate": text, "key": key_text(key)}
    document = kubeconfig.embedded(server=outputs.api_endpoint, user=user.name, cluster=spec.name, texts=texts)
    try:
        write_atomically(path, document, 0o600)
    except OSError as error:
        raise AccessError(f"{path} cannot be written: {error.strerror}") from None
    return certificate


def _hours(given: int | None, spec: Spec) -> int:
    """Return the validity of the certificate in hours."""
    longest = max_hours(spec)
    hours = min(DEFAULT_HOURS, longest) if given is None else given
    if 1 <= hours <= longest:
        return hours
    limit = "" if spec.join else " Set cluster-signing-duration in hardway:controllerManagerFlags to change the limit."
    if not longest:
        raise AccessError(f"the cluster signs certificates only for less than an hour.{limit}")
    raise AccessError(f"--hours {hours} is not allowed: the cluster signs for 1 to {longest} hours.{limit}")


def _check_place(path: Path, user: User, *, is_default: bool) -> None:
    """Check that a file can be written, and that it replaces only an earlier kubeconfig of the same user."""
    if is_default:
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.is_dir():
        raise AccessError(f"the folder {path.parent} does not exist. Create it, or choose another file with --output")
    if path.is_symlink() or path.exists():
        before = client_certificate_in(path) if path.is_file() else None
        if before is None or before.common_name != user.name:
            raise AccessError(f"{path} exists, and is no kubeconfig of {user.name}. Choose another file with --output")


def _instructions(user: User, path: Path, certificate: Certificate) -> str:
    groups = f" in {'the group' if len(user.groups) == 1 else 'the groups'} {', '.join(user.groups)}" * bool(
        user.groups
    )
    subject = f"--group={user.groups[0]}" if user.groups else f"--user={user.name}"
    return f"""\
Wrote {path} for {user.name}{groups}.
It ends on {certificate.not_after:%Y-%m-%d at %H:%M} UTC. Use it:
  kubectl --kubeconfig={shlex.quote(str(path))} auth whoami
What the user may do is decided by bindings, for example:
  kubectl create rolebinding NAME --clusterrole=view {subject} --namespace=default"""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
