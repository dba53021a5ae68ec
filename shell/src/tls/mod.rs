//! TLS on the server's own port: the certificate, and how it is replaced while the server runs.
//!
//! One configuration serves all connections; what a reload replaces is the certificate that the next
//! handshake is given. Connections, and the keys of session tickets, stay. The socket itself is in
//! `socket`; what clients of this program need (`top`, the health check) is in `client`.

pub(crate) mod client;
mod socket;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::{Ticketer, default_provider};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::reload::Reload;
pub(crate) use socket::TlsSocket;

/// Why a certificate cannot be used.
#[derive(Debug)]
pub struct CertificateError(String);

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CertificateError {}

/// The server's certificate with its key, from two files in PEM.
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({})", self.certificate.display())
    }
}

impl Certificates {
    /// Reads the chain (the server's own certificate first) and its key.
    ///
    /// # Errors
    /// A file cannot be read, has no certificate or key in it, or the two do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let current = Arc::new(Current(RwLock::new(Arc::new(read(certificate, key)?))));
        let failed = |error| CertificateError(format!("cannot set up TLS: {error}"));
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Clients that come back, all at once after an outage, are spared the signature. Tickets are
        // kept by the clients: nothing of a session stays here.
        config.ticketer = Ticketer::new().map_err(failed)?;
        config.send_tls13_tickets = 1;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }
}

/// For the handshakes from now on.
impl Reload for Certificates {
    fn what(&self) -> &'static str {
        "certificate"
    }

    fn reload(&self) -> Result<String, String> {
        let read = read(&self.certificate, &self.key).map_err(|error| error.to_string())?;
        let chain = read.cert.len();
        let mut current = self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(read);
        Ok(format!("a chain of {chain}"))
    }
}

/// The certificate of the next handshake.
struct Current(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&current))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&bytes(key)?)
        .map_err(|error| CertificateError(format!("{}: no private key: {error}", key.display())))?;
    CertifiedKey::from_der(chain, private, &default_provider()).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        CertificateError(format!("{certificate} and {key}: {error}"))
    })
}

/// The certificates of a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = bytes(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let wrong = |what: &dyn fmt::Display| CertificateError(format!("{}: {what}", path.display()));
    match found {
        Ok(chain) if chain.is_empty() => Err(wrong(&"no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(wrong(&error)),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path)
        .map_err(|error| CertificateError(format!("cannot read {}: {error}", path.display())))
}

impl From<CertificateError> for io::Error {
    fn from(error: CertificateError) -> Self {
        Self::other(error)
    }
}
