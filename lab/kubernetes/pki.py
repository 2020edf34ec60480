"""Who is who in the cluster: authorities, certificates and kubeconfigs, by the openssl command."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

VALID_DAYS = "30"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate with its private key, or a public key with its private one."""

    public: Path
    private: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority and the folder that it writes to."""

    folder: Path
    own: Credential

    @classmethod
    def create(cls, folder: Path, name: str) -> "Authority":
        """Make an authority whose own files are ``NAME.crt`` and ``NAME.key``."""
        folder.mkdir(parents=True, exist_ok=True)
        own = Credential(folder / f"{name}.crt", folder / f"{name}.key")
        _request(own, f"/CN={name}")
        return cls(folder, own)

    def issue(self, name: str, user: str, *, group: str = "", alternatives: tuple[str, ...] = ()) -> Credential:
        """Make *name*'s certificate, good for clients and servers.

        To the API server the holder is *user*, of *group*; *alternatives* are what a client may
        call the holder, as in ``DNS:n1`` or ``IP:10.0.0.1``.
        """
        made = Credential(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        subject = f"/O={group}/CN={user}" if group else f"/CN={user}"
        extensions = ["-addext", "extendedKeyUsage=clientAuth,serverAuth", "-addext", "basicConstraints=CA:FALSE"]
        if alternatives:
            extensions += ["-addext", f"subjectAltName={','.join(alternatives)}"]
        _request(made, subject, "-CA", str(self.own.public), "-CAkey", str(self.own.private), *extensions)
        return made


def signing_key(folder: Path) -> Credential:
    """The key that signs the tokens of service accounts."""
    made = Credential(folder / "service-accounts.pub", folder / "service-accounts.key")
    _openssl("genrsa", "-out", str(made.private), "2048")
    _openssl("rsa", "-in", str(made.private), "-pubout", "-out", str(made.public))
    return made


def certificate_user(credential: Credential) -> dict[str, str]:
    """A kubeconfig's user who shows a certificate."""
    return {"client-certificate": str(credential.public), "client-key": str(credential.private)}


def kubeconfig(path: Path, server: str, authority: Authority, user: Mapping[str, str]) -> Path:
    """Write a kubeconfig with one cluster and one user (JSON is YAML)."""
    cluster = {"server": server, "certificate-authority": str(authority.own.public)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": path.stem, "user": dict(user)}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": path.stem}}],
        "current-context": "lab",
    }
    path.write_text(json.dumps(config, indent=1))
    return path


def _request(credential: Credential, subject: str, *more: str) -> None:
    files = ["-keyout", str(credential.private), "-out", str(credential.public)]
    _openssl("req", "-x509", *NEW_KEY, "-days", VALID_DAYS, "-subj", subject, *files, *more)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
