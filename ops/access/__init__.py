"""Creates a kubeconfig for a user: `python3 -m ops.access --help`.

The private key is created on this machine. The cluster signs the certificate by its certificates API, see
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/. The stack keeps nothing about
users.

Exit code: 0 if the kubeconfig is written, 2 if not.
"""
