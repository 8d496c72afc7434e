"""`trireme serve` with TLS and client certificates on every link: clients, and the groups that dial in."""

import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import pki  # noqa: E402
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402


class TlsTest(serving.ServingTest):
    @classmethod
    def make_shards(cls, folder):
        return trireme.smollm2()

    @classmethod
    def serve(cls, folder, more_config=""):
        cls.ours, cls.foreign = pki.Authority(folder, "ours"), pki.Authority(folder, "foreign")
        certificate, key = cls.ours.sign("server")
        own, own_key = cls.ours.sign("group")
        return super().serve(folder, f"""
tls: {{certificate: {certificate}, key: {key}, client_ca: {cls.ours.certificate}}}
link_tls: {{ca: {cls.ours.certificate}, certificate: {own}, key: {own_key}}}
{more_config}""")

    @classmethod
    def make_channel(cls):
        import grpc
        certificate, key = cls.ours.sign("client")
        credentials = grpc.ssl_channel_credentials(cls.ours.certificate.read_bytes(), key.read_bytes(),
                                                   certificate.read_bytes())
        channel = grpc.secure_channel(cls.address, credentials, (("grpc.initial_reconnect_backoff_ms", 100),
                                                                 ("grpc.max_reconnect_backoff_ms", 300)))
        # Calls that fail at once give a handshake no time to go on.
        grpc.channel_ready_future(channel).result(60)
        return channel

    def status(self, *flags):
        return trireme.run(trireme.program, "status", "--server", self.address, *flags)

    def test_serves_whoever_has_a_certificate(self):
        request = self.messages.GenerateRequest(prompt_tokens=self.messages.TokenIds(ids=[5, 6]), max_tokens=4)
        self.assertEqual(len(self.stub.GenerateUnary(request, timeout=30).tokens), 4)
        certificate, key = self.ours.sign("operator")
        result = self.status("--tls-ca", self.ours.certificate, "--tls-certificate", certificate, "--tls-key", key)
        self.assertIn("ready", self.assert_succeeds(result).stdout)

    def test_refuses_everybody_else(self):
        certificate, key = self.foreign.sign("stranger")
        for flags in ((), ("--tls-ca", self.ours.certificate), ("--tls-ca", self.foreign.certificate),
                      ("--tls-ca", self.ours.certificate, "--tls-certificate", certificate, "--tls-key", key)):
            self.assertEqual(self.status(*flags).returncode, 1, flags)
        self.test_serves_whoever_has_a_certificate()

    def test_a_renewed_certificate_needs_no_restart(self):
        certificate, key = self.ours.sign("operator")
        flags = ("--tls-certificate", certificate, "--tls-key", key)
        self.assertEqual(self.status("--tls-ca", self.foreign.certificate, *flags).returncode, 1)
        # The same name, so the same files: from another authority, so that it can be told from the first.
        self.foreign.sign("server")
        trireme.wait_until(lambda: self.status("--tls-ca", self.foreign.certificate, *flags).returncode == 0,
                           "the new certificate is used", 20)
        self.ours.sign("server")
        trireme.wait_until(lambda: self.status("--tls-ca", self.ours.certificate, *flags).returncode == 0,
                           "the next is used", 20)


if __name__ == "__main__":
    trireme.main()
