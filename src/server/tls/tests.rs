use std::{fs, path::Path};

use expect_test::{Expect, expect};
use tempfile::TempDir;

use super::*;
use crate::server::{
    certificates::{Authority, Pair},
    described,
};

/// A pair in its files, with clients that must show certificates.
struct Subject {
    directory: TempDir,
    authority: Authority,
    pair: Pair,
}

impl Subject {
    fn new() -> Self {
        let authority = Authority::new("all");
        let subject = Self { directory: tempfile::tempdir().unwrap(), pair: authority.issue(), authority };
        subject.reset();
        subject
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// All is well again.
    fn reset(&self) {
        self.pair.write(self.path());
        self.write("clients.pem", &self.authority.pem());
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).unwrap();
    }

    fn config(&self) -> TlsConfig {
        TlsConfig {
            cert_file: self.path().join("cert.pem"),
            key_file: self.path().join("key.pem"),
            client_ca_file: self.path().join("clients.pem"),
            ..TlsConfig::default()
        }
    }

    fn say<T>(&self, outcome: Result<T, TlsError>) -> String {
        let Err(error) = outcome else { return "good".to_owned() };
        described(&error).replace(&self.path().display().to_string(), "DIR")
    }
}

/// What is said of files that are not what they should be, at the start and later. Each row names the file that is
/// written, and `-` is one that is not there.
#[track_caller]
fn check(subject: &Subject, rows: &[(&str, &str, String)], expected: Expect) {
    let mut table = String::new();
    let running = Tls::new(&subject.config()).unwrap();
    for (what, file, content) in rows {
        match content.as_str() {
            "-" => fs::remove_file(subject.path().join(file)).unwrap(),
            content => subject.write(file, content),
        }
        let before = running.acceptor();
        let said = subject.say(Tls::new(&subject.config()));
        let said_later = subject.say(running.refresh());
        assert_eq!(said, said_later, "{what}");
        let is_same = Arc::ptr_eq(before.config(), running.acceptor().config());
        assert_eq!(is_same, said != "good", "{what}: what cannot be used changes nothing");
        table.push_str(&format!("{what}: {said}\n"));
        subject.reset();
        running.refresh().unwrap();
    }
    expected.assert_eq(&table);
}

#[test]
fn what_cannot_be_used_is_refused_by_the_files_name() {
    let subject = Subject::new();
    let other = subject.authority.issue();
    let deputy = subject.authority.deputy("another");
    let theirs = deputy.issue();
    let Pair { cert, key } = &subject.pair;
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                 -----END RSA PRIVATE KEY-----\n";
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let rows = [
        ("another pair's certificate", "cert.pem", other.cert.clone()),
        ("another pair's key", "key.pem", other.key.clone()),
        ("the authority before its certificate", "cert.pem", format!("{}{cert}", subject.authority.pem())),
        ("the authority after it", "cert.pem", format!("{cert}{}", subject.authority.pem())),
        ("the key before it", "cert.pem", format!("{key}{cert}")),
        ("an empty certificate", "cert.pem", String::new()),
        ("half a certificate", "cert.pem", half(cert)),
        ("a certificate and half the next", "cert.pem", format!("{cert}{}", half(&deputy.pem()))),
        ("only a key", "cert.pem", key.clone()),
        ("no certificate in its armour", "cert.pem", not_a_certificate.to_owned()),
        ("no PEM", "cert.pem", "certificate".to_owned()),
        ("no certificate file", "cert.pem", "-".to_owned()),
        ("an empty key", "key.pem", String::new()),
        ("half a key", "key.pem", half(key)),
        ("only a certificate", "key.pem", cert.clone()),
        ("an encrypted key", "key.pem", encrypted),
        ("an encrypted key in the older form", "key.pem", older.to_owned()),
        ("no key in its armour", "key.pem", not_a_certificate.replace("CERTIFICATE", "PRIVATE KEY")),
        ("no key file", "key.pem", "-".to_owned()),
        ("empty authorities", "clients.pem", String::new()),
        ("authorities that are none", "clients.pem", not_a_certificate.to_owned()),
        ("no authorities' file", "clients.pem", "-".to_owned()),
        ("other authorities", "clients.pem", deputy.pem()),
        ("both halves of another pair in one file", "cert.pem", format!("{}{}", theirs.cert, theirs.key)),
    ];
    check(
        &subject,
        &rows,
        expect![[r#"
        another pair's certificate: the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: keys may not be consistent: KeyMismatch
        another pair's key: the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: keys may not be consistent: KeyMismatch
        the authority before its certificate: the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: keys may not be consistent: KeyMismatch
        the authority after it: good
        the key before it: good
        an empty certificate: DIR/cert.pem has no certificate in PEM
        half a certificate: DIR/cert.pem has no certificate in PEM
        a certificate and half the next: DIR/cert.pem has no certificate in PEM
        only a key: DIR/cert.pem has no certificate in PEM
        no certificate in its armour: the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: invalid peer certificate: BadEncoding
        no PEM: DIR/cert.pem has no certificate in PEM
        no certificate file: cannot read DIR/cert.pem: No such file or directory (os error 2)
        an empty key: DIR/key.pem has no private key in PEM
        half a key: DIR/key.pem has no private key in PEM
        only a certificate: DIR/key.pem has no private key in PEM
        an encrypted key: the private key in DIR/key.pem is encrypted, and cannot be used
        an encrypted key in the older form: the private key in DIR/key.pem is encrypted, and cannot be used
        no key in its armour: the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: unexpected error: failed to parse private key as RSA, ECDSA, or EdDSA
        no key file: cannot read DIR/key.pem: No such file or directory (os error 2)
        empty authorities: DIR/clients.pem has no certificate in PEM
        authorities that are none: DIR/clients.pem has no certificate that can be used in PEM
        no authorities' file: cannot read DIR/clients.pem: No such file or directory (os error 2)
        other authorities: good
        both halves of another pair in one file: the certificate in DIR/cert.pem and the key in DIR/key.pem cannot be used together: keys may not be consistent: KeyMismatch
    "#]],
    );
}

#[test]
fn a_pair_is_taken_when_both_halves_are_there() {
    let subject = Subject::new();
    let tls = Tls::new(&subject.config()).unwrap();
    let first = Arc::clone(tls.acceptor().config());
    assert!(!tls.refresh().unwrap(), "nothing has changed");

    let next = subject.authority.issue();
    subject.write("cert.pem", &next.cert);
    for _ in 0..2 {
        assert!(matches!(tls.refresh(), Err(TlsError::Pair { .. })));
        assert!(Arc::ptr_eq(&first, tls.acceptor().config()));
    }
    subject.write("key.pem", &next.key);
    assert!(tls.refresh().unwrap());
    let second = Arc::clone(tls.acceptor().config());
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(!tls.refresh().unwrap());

    // The one before can come back, too.
    subject.reset();
    assert!(tls.refresh().unwrap());
    assert!(!tls.refresh().unwrap());
}

#[test]
fn nothing_that_is_printed_shows_a_key() {
    let subject = Subject::new();
    let shown = format!("{:?}", Tls::new(&subject.config()).unwrap());
    assert!(shown.starts_with("Tls { config: TlsConfig {") && shown.ends_with("}, .. }"), "{shown}");
}
