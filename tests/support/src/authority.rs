//! A test's own certificate authority, created with the openssl program.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use uuid::Uuid;

/// An authority and the folder with its files, which is removed on drop.
pub struct Authority {
    folder: PathBuf,
    /// The authority's certificate (PEM).
    pub certificate: PathBuf,
}

impl Authority {
    /// Creates an authority.
    pub fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("titlecast-authority-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        let certificate = folder.join("ca.pem");
        let authority = Self {
            folder,
            certificate,
        };
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=An authority of a test",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        authority
    }

    /// Issues a certificate for these names, such as `IP:127.0.0.1` or `DNS:db.example`. Returns the paths of
    /// certificate and key.
    pub fn certify(&self, names: &str) -> (PathBuf, PathBuf) {
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(self.folder.join("names"), extensions).unwrap();
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=A server of a test",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "server.pem",
        ]);
        (
            self.folder.join("server.pem"),
            self.folder.join("server.key"),
        )
    }

    /// The path of the authority's certificate.
    pub fn path(&self) -> &str {
        self.certificate.to_str().unwrap()
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {error}");
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
