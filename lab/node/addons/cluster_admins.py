"""The add-on that gives administrators their rights, which end when its binding is deleted."""

from lab.node import rbac
from lab.node.addons.addon import Object
from lab.pki import CLUSTER_ADMINS_GROUP
from lab.spec import Spec


def cluster_admins(_: Spec) -> list[Object]:
    """Return the binding of the administrators' group."""
    group = rbac.group(CLUSTER_ADMINS_GROUP)
    return [rbac.cluster_role_binding(CLUSTER_ADMINS_GROUP, "cluster-admin", group)]
