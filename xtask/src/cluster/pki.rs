//! Certificates and kubeconfig files of one cluster. All are made anew for each cluster and end with it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

/// A certificate authority and the folder that it fills.
pub(crate) struct Pki {
    dir: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

/// Who a certificate is for.
pub(crate) struct Subject<'a> {
    /// File name without its ending.
    pub(crate) file: &'a str,
    pub(crate) common_name: &'a str,
    /// Kubernetes reads it as the user's group.
    pub(crate) organization: Option<&'a str>,
    /// DNS names and addresses that a server answers to.
    pub(crate) names: &'a [&'a str],
}

impl Pki {
    /// Makes `<dir>/ca.crt`, and the pair `<dir>/service-accounts.{key,pub}` for the tokens of service accounts.
    pub(crate) fn create(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "tollgate-local-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        write_private(&dir.join("ca.crt"), &ca.pem())?;
        write_private(&dir.join("ca.key"), &ca.key().serialize_pem())?;
        let service_accounts = KeyPair::generate()?;
        write_private(&dir.join("service-accounts.key"), &service_accounts.serialize_pem())?;
        write_private(&dir.join("service-accounts.pub"), &service_accounts.public_key_pem())?;
        Ok(Self { dir: dir.to_path_buf(), ca })
    }

    /// Makes `<dir>/<file>.crt` and `.key`, for clients and servers alike.
    pub(crate) fn issue(&self, subject: &Subject<'_>) -> anyhow::Result<()> {
        let names: Vec<String> = subject.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, subject.common_name);
        if let Some(organization) = subject.organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.ca)?;
        write_private(&self.dir.join(subject.file).with_extension("crt"), &certificate.pem())?;
        write_private(&self.dir.join(subject.file).with_extension("key"), &key.serialize_pem())
    }

    /// Issues a client certificate and writes `<to>`, a kubeconfig that uses it.
    pub(crate) fn kubeconfig(&self, server: &str, subject: &Subject<'_>, to: &Path) -> anyhow::Result<()> {
        self.issue(subject)?;
        let file = |ending: &str| self.dir.join(subject.file).with_extension(ending);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": {
                "server": server, "certificate-authority": self.dir.join("ca.crt")}}],
            "users": [{"name": subject.common_name, "user": {
                "client-certificate": file("crt"), "client-key": file("key")}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": subject.common_name}}],
            "current-context": "local",
        });
        write_private(to, &serde_json::to_string_pretty(&config)?)
    }
}

/// A kubeconfig and a key are an administrator's credentials: nobody else reads them.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_and_kubeconfigs_are_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::create(dir.path()).unwrap();
        let admin = Subject { file: "admin", common_name: "admin", organization: Some("system:masters"), names: &[] };
        pki.kubeconfig("https://127.0.0.1:1", &admin, &dir.path().join("kubeconfig")).unwrap();
        for file in ["ca.key", "admin.key", "service-accounts.key", "kubeconfig"] {
            let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}
