//! A client and a server on quinn and rustls, which show raw Ed25519 keys (RFC 7250) as alknet's nodes do.
//!
//!     quinnpeer client ADDRESS PUBLIC OPERATION [KEY]   one call of a server with that key; its answer, or how it ended
//!     quinnpeer server KEY                              answers every call; its port, then each client's key
//!
//! KEY is a file with a private key, PUBLIC the 32 bytes of a public one in hexadecimal. A line of output is for one event.
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::crypto::{ring, verify_tls13_signature_with_raw_key};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::sync::Arc;

type Any<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Of a SubjectPublicKeyInfo (RFC 8410): the key is what ends it.
fn key_of(info: &[u8]) -> String {
    hex(&info[info.len() - 32..])
}

fn certified(file: &str) -> Any<Arc<CertifiedKey>> {
    let key = ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from_pem_file(file)?)?;
    let info = key.public_key().ok_or("no public key")?.into_owned();
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(info.to_vec())], key)))
}

/// Whoever has that key; none: whoever proves to have the one that he shows.
#[derive(Debug)]
struct Judge(Option<String>);

impl Judge {
    fn signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        s: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &SubjectPublicKeyInfoDer::from(key.as_ref()), s, &algorithms)
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.0 == Some(key_of(key)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
        }
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("QUIC has TLS 1.3")
    }
    fn verify_tls13_signature(
        &self,
        m: &[u8],
        k: &CertificateDer<'_>,
        s: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(m, k, s)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("QUIC has TLS 1.3")
    }
    fn verify_tls13_signature(
        &self,
        m: &[u8],
        k: &CertificateDer<'_>,
        s: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(m, k, s)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

fn frame(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

async fn read(from: &mut quinn::RecvStream) -> Any<String> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let mut body = vec![0; u32::from_be_bytes(head) as usize];
    from.read_exact(&mut body).await?;
    Ok(String::from_utf8(body)?)
}

fn client_config(public: &str, key: Option<&String>) -> Any<quinn::ClientConfig> {
    let tls = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Judge(Some(public.into()))));
    let mut tls = match key {
        Some(file) => tls.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(certified(file)?))),
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"alknet/call".to_vec()];
    Ok(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

async fn client(args: &[String]) -> Any<()> {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    let config = client_config(&args[1], args.get(3))?;
    let call = async {
        let conn = endpoint.connect_with(config, args[0].parse()?, "node")?.await?;
        let (mut out, mut answer) = conn.open_bi().await?;
        let input = r#"{"n":5}"#;
        out.write_all(&frame(&format!(
            r#"{{"type":"call.requested","id":"1","payload":{{"operationId":"/{}","input":{input}}}}}"#,
            args[2]
        )))
        .await?;
        out.finish()?;
        let text = read(&mut answer).await?;
        conn.close(0u32.into(), b"");
        Any::Ok(text)
    };
    match call.await {
        Ok(text) => println!("{text}"),
        Err(error) => println!("{error:?}"),
    }
    endpoint.wait_idle().await;
    Ok(())
}

async fn answer(mut to: quinn::SendStream, mut from: quinn::RecvStream) -> Any<()> {
    while let Ok(request) = read(&mut from).await {
        let id = request.split(r#""id":""#).nth(1).and_then(|rest| rest.split('"').next()).ok_or("no id")?;
        to.write_all(&frame(&format!(r#"{{"type":"call.responded","id":"{id}","payload":{{"output":"quinn"}}}}"#))).await?;
    }
    to.finish()?;
    Ok(())
}

async fn serve(incoming: quinn::Incoming) -> Any<()> {
    let conn = incoming.await?;
    let shown = conn.peer_identity().and_then(|i| i.downcast::<Vec<CertificateDer<'static>>>().ok());
    println!("{}", shown.map_or("nobody".into(), |keys| key_of(&keys[0])));
    loop {
        let (to, from) = conn.accept_bi().await?;
        tokio::spawn(async { answer(to, from).await.ok() });
    }
}

async fn server(args: &[String]) -> Any<()> {
    let mut tls = rustls::ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_client_cert_verifier(Arc::new(Judge(None)))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified(&args[0])?)));
    tls.alpn_protocols = vec![b"alknet/call".to_vec()];
    let config = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse()?)?;
    println!("{}", endpoint.local_addr()?.port());
    while let Some(incoming) = endpoint.accept().await {
        if let Err(error) = serve(incoming).await {
            println!("{error:?}");
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Any<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args[0].as_str() {
        "client" => client(&args[1..]).await,
        _ => server(&args[1..]).await,
    }
}
