//! Certificates for a test: an authority, and what it signs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::Site;

/// An authority whose certificate lies in the site as `NAME.pem`.
#[derive(Debug)]
pub struct Authority<'a> {
    site: &'a Site,
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Authority<'a> {
    pub fn new(site: &'a Site, name: &'static str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(site.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        Self { site, name, issuer: Issuer::new(params, key) }
    }

    pub fn path(&self) -> PathBuf {
        self.site.path(&format!("{}.pem", self.name))
    }

    /// A certificate and key for this host, or for a client, as `NAME-cert.pem` and `NAME-key.pem`.
    pub fn sign(&self, name: &str) -> [PathBuf; 2] {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = ["cert", "key"].map(|part| self.site.path(&format!("{name}-{part}.pem")));
        // A key that all can read would be warned of.
        for (path, text) in paths.iter().zip([certificate.pem(), key.serialize_pem()]) {
            let new = path.with_extension("new");
            fs::write(&new, text).unwrap();
            fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).unwrap();
            fs::rename(&new, path).unwrap();
        }
        paths
    }
}
