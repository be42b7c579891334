#!/usr/bin/env python3
"""Makes keys, certificates and stores for tests, with openssl and keytool.

    compat-tests/tls/certificates.py DIR [HOST …]

    ca.pem  other-ca.pem                   two authorities; stores trust the first
    NAME.key.pem  NAME.crt.pem  NAME.pem   server, client, super, expired, foreign (of the second authority); .pem has both
    old  old-server  old-foreign           the same, of version 1 of X.509
    listed                                 of no authority; it is in trust.jks and trust.p12 itself
    forged                                 signed with the key of `listed`
    server.jks  client.jks  trust.jks      as keytool makes them
    server.p12  trust.p12                  as keytool makes them today
    client.p12                             as openssl makes them, under the ciphers of before
    client.locked.pem                      the key under a password, in the one way that Java's PEM reader knows
Every password is `pass word`. The server's certificate names localhost, 127.0.0.1 and the HOSTs.
"""

import subprocess
import sys
from pathlib import Path

PASSWORD = "pass word"
SUBJECTS = {
    "server": "/CN=server",
    "client": "/C=DE/O=Example, Inc./OU=one+OU=two/CN=client",
    "super": "/CN=super",
    "expired": "/CN=expired",
    "foreign": "/CN=foreign",
    "old": "/CN=old",
    "old-server": "/CN=localhost",
    "old-foreign": "/CN=old",
    "forged": "/CN=super",
}


class Maker:
    def __init__(self, directory, hosts=()):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.names = ["DNS:localhost", "IP:127.0.0.1", *(f"DNS:{host}" for host in hosts)]

    def run(self, *command):
        done = subprocess.run(command, cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")

    def authority(self, name, constraints="critical,CA:TRUE", usage="keyCertSign,cRLSign"):
        extensions = ["-addext", f"basicConstraints={constraints}", "-addext", f"keyUsage={usage}"]
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key.pem"]
        self.run("openssl", "req", "-x509", *key, "-days", "30", "-subj", f"/CN={name}", *extensions, "-out", f"{name}.pem")

    def certificate(self, name, authority="ca", subject=None, days="20", rsa=False, old=False):
        """Makes a key and a certificate of this authority; `old` certificates have version 1 and no extensions."""
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subject = ["-multivalue-rdn", "-utf8", "-subj", subject or SUBJECTS[name]]
        self.run("openssl", "req", "-newkey", *kind, "-nodes", "-keyout", f"{name}.key.pem", *subject, "-out", f"{name}.csr")
        (self.directory / "extensions").write_text(f"subjectAltName={','.join(self.names)}\nbasicConstraints=CA:FALSE\n")
        sign = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key.pem", "-CAcreateserial", *([] if old else ["-extfile", "extensions"])]
        self.run("openssl", "x509", "-req", "-in", f"{name}.csr", *sign, "-days", days, "-out", f"{name}.crt.pem")
        parts = [f"{name}.key.pem", f"{name}.crt.pem", f"{authority}.pem"]
        (self.directory / f"{name}.pem").write_text("".join((self.directory / part).read_text() for part in parts))

    def pkcs12(self, name, *how, to=None):
        key = ["-inkey", f"{name}.key.pem", "-in", f"{name}.crt.pem", "-certfile", "ca.pem", "-name", name]
        self.run("openssl", "pkcs12", "-export", *how, *key, "-out", to or f"{name}.p12", "-passout", f"pass:{PASSWORD}")

    def keytool(self, source, to, kind):
        stores = ["-srckeystore", source, "-srcstoretype", "PKCS12", "-destkeystore", to, "-deststoretype", kind]
        passwords = ["-srcstorepass", PASSWORD, "-deststorepass", PASSWORD, "-noprompt"]
        self.run("keytool", "-J-XX:TieredStopAtLevel=1", "-importkeystore", *stores, *passwords)

    def trust(self, to, kind):
        store = ["-keystore", to, "-storetype", kind, "-storepass", PASSWORD, "-noprompt"]
        for name in ("ca", "listed"):
            self.run("keytool", "-J-XX:TieredStopAtLevel=1", "-importcert", "-alias", name, "-file", f"{name}.pem", *store)

    def make(self):
        self.authority("ca")
        self.authority("other-ca")
        self.certificate("server", rsa=True)
        self.certificate("client")
        self.certificate("super")
        self.certificate("expired", days="-1")
        self.certificate("foreign", authority="other-ca")
        self.certificate("old", old=True)
        self.certificate("old-server", old=True)
        self.certificate("old-foreign", authority="other-ca", old=True)
        self.authority("listed", constraints="CA:FALSE", usage="digitalSignature")
        self.certificate("forged", authority="listed")
        self.pkcs12("server", to="made.p12")
        self.keytool("made.p12", "server.jks", "JKS")
        self.keytool("made.p12", "server.p12", "PKCS12")
        self.pkcs12("client", "-legacy")
        self.pkcs12("client", to="made-client.p12")
        self.keytool("made-client.p12", "client.jks", "JKS")
        self.trust("trust.jks", "JKS")
        self.trust("trust.p12", "PKCS12")
        lock = ["-topk8", "-v1", "PBE-SHA1-3DES", "-in", "client.key.pem", "-passout", f"pass:{PASSWORD}", "-out", "locked.key.pem"]
        self.run("openssl", "pkcs8", *lock)
        parts = ["locked.key.pem", "client.crt.pem"]
        (self.directory / "client.locked.pem").write_text("".join((self.directory / part).read_text() for part in parts))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    Maker(sys.argv[1], sys.argv[2:]).make()
