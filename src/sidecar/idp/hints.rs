//! Reads the hints file: what helps the sidecar and is no policy. Says what of it may be used; a file that cannot be read
//! is as good as none, and reported. It changes no rule, yet its keys verify tokens until the first live fetch: whoever can
//! write the file can mint tokens for a sidecar that has fetched no keys yet.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tollgate_contract::{Hints, IssuerHints, SeededKeys};
use tollgate_runtime::files::read_optional;

/// A ConfigMap holds at most 1 MiB.
const LARGEST_FILE: u64 = 1024 * 1024;

/// How long keys may serve after they were fetched, by whomever.
pub(super) const LIFE_OF_KEYS: Duration = Duration::from_secs(24 * 60 * 60);

/// Clocks of nodes differ by less; a seed from further ahead would never grow old.
const LARGEST_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5 * 60);

/// The hints file as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum HintsFile {
    /// There is none.
    Absent,
    /// It is too large, unreadable or not the JSON of hints.
    Malformed,
    /// Its content.
    Present(Hints),
}

impl HintsFile {
    pub(super) fn read(path: &Path) -> Self {
        match read_optional(path, LARGEST_FILE) {
            Ok(None) => Self::Absent,
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).map_or(Self::Malformed, Self::Present),
            Err(_) => Self::Malformed,
        }
    }

    /// The hints about the issuer of this name.
    pub(super) fn about(&self, issuer: &str) -> Option<&IssuerHints> {
        match self {
            Self::Present(hints) => hints.issuers.iter().find(|hints| hints.name == issuer),
            Self::Absent | Self::Malformed => None,
        }
    }
}

/// How much longer seeded keys may serve; `None` when they are too old, or claim to come from the future.
pub(super) fn life_left(keys: &SeededKeys, now: SystemTime) -> Option<Duration> {
    let fetched_at = UNIX_EPOCH.checked_add(Duration::from_secs(keys.fetched_at))?;
    match now.duration_since(fetched_at) {
        Ok(age) => LIFE_OF_KEYS.checked_sub(age).filter(|left| !left.is_zero()),
        Err(ahead) => (ahead.duration() <= LARGEST_CLOCK_DIFFERENCE).then_some(LIFE_OF_KEYS),
    }
}

#[cfg(test)]
mod tests {
    use tollgate_contract::KeySource;

    use super::*;

    fn read(content: &[u8]) -> HintsFile {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hints.json");
        std::fs::write(&path, content).unwrap();
        HintsFile::read(&path)
    }

    #[test]
    fn hints_are_found_by_the_issuers_name() {
        let file = read(br#"{"issuers":[{"name":"okta","sharers":16},{"name":"other"}],"newer":true}"#);
        assert_eq!(file.about("okta").unwrap().sharers, Some(16));
        assert_eq!(file.about("other").unwrap().sharers, None);
        assert_eq!(file.about("nobody"), None);
    }

    #[test]
    fn a_missing_file_is_no_fault_and_a_broken_one_is() {
        assert_eq!(HintsFile::read(Path::new("/nowhere/hints.json")), HintsFile::Absent);
        for broken in [&b""[..], b"<html>", br#"{"issuers":7}"#, br#"{"issuers":[{"sharers":1}]}"#, &[b' '; 1_048_577]]
        {
            assert_eq!(read(broken), HintsFile::Malformed);
        }
    }

    #[test]
    fn seeded_keys_serve_for_a_day_after_they_were_fetched() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let source = KeySource { issuer: String::new(), jwks: None, ca_bundle: None };
        let left = |fetched_at| life_left(&SeededKeys { fetched_at, jwks: String::new(), source: source.clone() }, now);
        assert_eq!(left(1_000_000), Some(LIFE_OF_KEYS));
        assert_eq!(left(1_000_000 - 3_600), Some(LIFE_OF_KEYS - Duration::from_secs(3_600)));
        assert_eq!(left(1_000_000 - 86_399), Some(Duration::from_secs(1)));
        assert_eq!(left(1_000_000 - 86_400), None);
        assert_eq!(left(0), None);
        assert_eq!(left(1_000_000 + 300), Some(LIFE_OF_KEYS), "a clock that is a little ahead");
        assert_eq!(left(1_000_000 + 301), None);
        assert_eq!(left(u64::MAX), None);
    }
}
