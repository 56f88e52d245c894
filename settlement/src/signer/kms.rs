//! What a key in a key management service is called. Pure: nothing is asked here.
//!
//! Every build reads the names, so that one without the service can say what it misses.

use std::fmt;
use std::str::FromStr;

/// The most bytes of a name.
const NAME_BYTES_MAX: usize = 512;

/// The name of a key: `aws:KEY` or `gcp:projects/…/cryptoKeyVersions/N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KmsKeyName {
    /// Of AWS KMS.
    Aws(AwsKeyName),
    /// Of Google Cloud KMS.
    Gcp(GcpKeyName),
}

/// A key of AWS KMS: its id, its ARN, an alias (`alias/NAME`), or an alias's ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsKeyName {
    id: String,
    region: Option<String>,
}

/// One version of a key of Google Cloud KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcpKeyName {
    /// The project.
    pub project: String,
    /// The location, such as `global`.
    pub location: String,
    /// The key ring.
    pub ring: String,
    /// The key.
    pub key: String,
    /// Its version.
    pub version: u64,
}

/// Why a name is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KmsKeyError {
    /// It names no service.
    #[error("it begins with neither aws: nor gcp:")]
    Service,
    /// It is no key of AWS.
    #[error("it is no key id, alias or ARN of AWS KMS")]
    Aws,
    /// It is no key version of Google Cloud.
    #[error(
        "it is not of the form projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N of Google Cloud KMS"
    )]
    Gcp,
}

impl AwsKeyName {
    /// The name as AWS takes it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The region, when the name says it.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    fn parse(id: &str) -> Option<Self> {
        let is_plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte))
        };
        let Some(rest) = id.strip_prefix("arn:") else {
            return is_plain(id).then(|| Self { id: id.to_owned(), region: None });
        };
        let parts: Vec<&str> = rest.split(':').collect();
        let [partition, "kms", region, account, key] = parts.as_slice() else { return None };
        let is_key = key.strip_prefix("key/").or_else(|| key.strip_prefix("alias/")).is_some_and(is_plain);
        let is_account = !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit());
        let is_good = is_plain(partition) && is_plain(region) && is_account && is_key;
        is_good.then(|| Self { id: id.to_owned(), region: Some((*region).to_owned()) })
    }
}

impl GcpKeyName {
    fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('/').collect();
        let [
            "projects",
            project,
            "locations",
            location,
            "keyRings",
            ring,
            "cryptoKeys",
            key,
            "cryptoKeyVersions",
            version,
        ] = parts.as_slice()
        else {
            return None;
        };
        let is_word = |text: &&str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
        };
        let version: u64 = version.parse().ok().filter(|version| *version > 0)?;
        [project, location, ring, key].iter().all(|text| is_word(text)).then(|| Self {
            project: (*project).to_owned(),
            location: (*location).to_owned(),
            ring: (*ring).to_owned(),
            key: (*key).to_owned(),
            version,
        })
    }
}

impl FromStr for KmsKeyName {
    type Err = KmsKeyError;

    fn from_str(text: &str) -> Result<Self, KmsKeyError> {
        let bounded = |name: &str| (name.len() <= NAME_BYTES_MAX).then(|| name.to_owned());
        if let Some(name) = text.strip_prefix("aws:") {
            let key = bounded(name).and_then(|name| AwsKeyName::parse(&name));
            return key.map(Self::Aws).ok_or(KmsKeyError::Aws);
        }
        let Some(name) = text.strip_prefix("gcp:") else { return Err(KmsKeyError::Service) };
        let key = bounded(name).and_then(|name| GcpKeyName::parse(&name));
        key.map(Self::Gcp).ok_or(KmsKeyError::Gcp)
    }
}

impl fmt::Display for KmsKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws(key) => write!(f, "aws:{}", key.id),
            Self::Gcp(GcpKeyName { project, location, ring, key, version }) => write!(
                f,
                "gcp:projects/{project}/locations/{location}/keyRings/{ring}/cryptoKeys/{key}/cryptoKeyVersions/{version}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aws:1234abcd-12ab-34cd-56ef-1234567890ab";
    const ARN: &str = "aws:arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    const ALIAS: &str = "aws:arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/farebox/payee";
    const GCP: &str = "gcp:projects/p-1/locations/global/keyRings/r/cryptoKeys/payee/cryptoKeyVersions/3";

    #[test]
    fn names_are_read_and_written_as_they_are() {
        for (text, region) in [
            (ID, None),
            ("aws:alias/payee", None),
            (ARN, Some("eu-central-1")),
            (ALIAS, Some("us-gov-west-1")),
        ] {
            let name: KmsKeyName = text.parse().expect("a name");
            assert_eq!(name.to_string(), text);
            let KmsKeyName::Aws(key) = name else { panic!("{text} is of AWS") };
            assert_eq!(key.region(), region);
            assert_eq!(format!("aws:{}", key.id()), text);
        }
        let name: KmsKeyName = GCP.parse().expect("a name");
        assert_eq!(name.to_string(), GCP);
        let KmsKeyName::Gcp(key) = name else { panic!("of Google Cloud") };
        assert_eq!((key.project.as_str(), key.key.as_str(), key.version), ("p-1", "payee", 3));
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let read = |text: &str| text.parse::<KmsKeyName>().expect_err("refused");
        for text in ["", "payee", "azure:x", "AWS:x"] {
            assert_eq!(read(text), KmsKeyError::Service, "{text}");
        }
        let long = format!("aws:{}", "a".repeat(NAME_BYTES_MAX + 1));
        for text in [
            "aws:",
            "aws:a b",
            "aws:a\n",
            &long,
            "aws:arn:aws:s3:eu:1:key/x",
            "aws:arn:aws:kms:eu:one:key/x",
            "aws:arn:aws:kms::1:key/x",
            "aws:arn:aws:kms:eu:1:x",
            "aws:arn:aws:kms:eu:1:key/",
        ] {
            assert_eq!(read(text), KmsKeyError::Aws, "{text}");
        }
        for text in [
            "gcp:",
            "gcp:projects/p/locations/l/keyRings/r/cryptoKeys/k",
            &GCP.replace("/3", "/0"),
            &GCP.replace("/3", "/latest"),
            &GCP.replace("p-1", ""),
            &GCP.replace("payee", "pay ee"),
            &format!("{GCP}/x"),
        ] {
            assert_eq!(read(text), KmsKeyError::Gcp, "{text}");
        }
    }
}
