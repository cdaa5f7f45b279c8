"""Certificates for tests, made by openssl: a CA of the test's own, and what it signs."""
import hashlib
import os
import ssl
import subprocess


def openssl(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


class Pair:
    """A certificate and its key: files, and the fingerprint as alknet writes it."""

    def __init__(self, certificate, key):
        self.certificate, self.key = str(certificate), str(key)

    @property
    def fingerprint(self):
        with open(self.certificate, encoding="ascii") as f:
            pem = f.read()
        end = "-----END CERTIFICATE-----"
        return "SHA256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[:pem.index(end) + len(end)])).hexdigest()

    def entry(self):
        return {"certificate": self.certificate, "key": self.key}


def _key(path, kind):
    if kind == "rsa":
        openssl("genrsa", "-out", path, "2048")
    else:
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    os.chmod(path, 0o600)


def self_signed(folder, name, names=("localhost",), kind="ec", dates=()):
    """Signed by itself; names beginning with a digit are addresses."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    _key(key, kind)
    san = ",".join(("IP:" if n[0].isdigit() else "DNS:") + n for n in names)
    openssl("req", "-x509", "-new", "-key", key, "-out", certificate, "-subj", f"/CN={names[0]}", "-days", "30",
            "-addext", f"subjectAltName={san}")
    return Pair(certificate, key)


class Authority:
    def __init__(self, folder, name="ca"):
        self.folder, self.own = folder, self_signed(folder, name, ("The CA of the tests",))
        self.file = self.own.certificate

    def sign(self, name, names=("localhost", "127.0.0.1"), kind="ec", begin=None, end=None):
        """begin, end: YYMMDDHHMMSSZ, for a certificate that is not valid now."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        request, extra = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        _key(key, kind)
        extra.write_text("subjectAltName=" + ",".join(("IP:" if n[0].isdigit() else "DNS:") + n for n in names) + "\n")
        openssl("req", "-new", "-key", key, "-out", request, "-subj", f"/CN={names[0]}")
        if begin:
            (self.folder / "index").write_text("")
            (self.folder / "serial").write_text("01\n")
            conf = self.folder / "ca.conf"
            conf.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.folder}/index\nserial={self.folder}/serial\nnew_certs_dir={self.folder}\n"
                            "default_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n")
            openssl("ca", "-batch", "-config", conf, "-in", request, "-out", certificate, "-cert", self.own.certificate, "-keyfile", self.own.key,
                    "-startdate", begin, "-enddate", end, "-extfile", extra, "-notext")
        else:
            openssl("x509", "-req", "-in", request, "-CA", self.own.certificate, "-CAkey", self.own.key, "-CAcreateserial", "-days", "30",
                    "-extfile", extra, "-out", certificate)
        return Pair(certificate, key)
