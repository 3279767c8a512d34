//! Certificates that can be used, and those that cannot.

#![allow(clippy::unwrap_used)]

use super::*;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            chain: self.0.path().join("cert.pem"),
            key: self.0.path().join("key.pem"),
            client_ca: None,
        }
    }

    /// A fresh certificate and its key; gives the certificate.
    fn write(&self) -> String {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(self.files().chain, made.cert.pem()).unwrap();
        fs::write(self.files().key, made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    }
}

fn refusal(files: TlsFiles) -> String {
    Certificates::load(files).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_used_is_named_with_its_file() {
    let directory = Directory::new();
    let files = directory.files();
    let text = refusal(files.clone());
    assert!(text.contains("--tls-cert") && text.contains("cert.pem"), "{text}");

    directory.write();
    let key = fs::read(&files.key).unwrap();
    fs::write(&files.key, "").unwrap();
    let text = refusal(files.clone());
    assert!(text.contains("--tls-key") && text.contains("no private key"), "{text}");

    fs::write(&files.chain, &key).unwrap();
    fs::write(&files.key, &key).unwrap();
    let text = refusal(files.clone());
    assert!(text.contains("no certificate"), "{text}");

    directory.write();
    fs::write(&files.key, &key).unwrap();
    let text = refusal(files.clone());
    assert!(text.contains("not this certificate's"), "{text}");

    directory.write();
    for field in ["client-ca", "admin-client-ca"] {
        let client_ca = Some(ClientCa { field, path: directory.0.path().join("ca.pem") });
        let text = refusal(TlsFiles { client_ca, ..files.clone() });
        assert!(text.contains(&format!("--{field} ")), "{text}");
    }
    Certificates::load(files).unwrap();
}

#[test]
fn a_new_certificate_counts_when_it_has_settled_and_can_be_used() {
    let directory = Directory::new();
    directory.write();
    let certificates = Certificates::load(directory.files()).unwrap();
    let served = || Arc::as_ptr(&certificates.current.load_full());
    let first = served();
    certificates.refresh(false);
    assert_eq!(served(), first, "nothing has changed");

    directory.write();
    certificates.refresh(false);
    assert_eq!(served(), first, "it may still be being written");
    certificates.refresh(false);
    let second = served();
    assert_ne!(second, first);

    fs::write(directory.files().key, "half a key").unwrap();
    certificates.refresh(false);
    certificates.refresh(false);
    certificates.refresh(true);
    assert_eq!(served(), second, "what cannot be used changes nothing");

    fs::remove_file(directory.files().key).unwrap();
    certificates.refresh(true);
    assert_eq!(served(), second);

    directory.write();
    certificates.refresh(true);
    assert_ne!(served(), second, "who asks need not wait");
}
