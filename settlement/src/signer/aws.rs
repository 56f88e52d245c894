//! A key of AWS KMS (`ECC_SECG_P256K1`, `SIGN_VERIFY`), by alloy's signer.
//!
//! Credentials, region and endpoint come from where AWS's own tools take them: the environment, the shared files, the
//! machine's role. The SDK asks once; how often and for how long, [`KeyService`](super::KeyService) says.

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::Signer;
use alloy_signer_aws::{AwsSigner, AwsSignerError};
use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::Client;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use farebox_engine::chain::BoxFuture;
use tokio::sync::OnceCell;

use super::service::with_parity_of;
use super::{AwsKeyName, RemoteKey, SigningError};

/// What AWS says, with a status that blames the question, when it is busy.
const BUSY_CODES: [&str; 3] = ["ThrottlingException", "LimitExceededException", "RequestLimitExceeded"];

/// A key of AWS KMS.
pub struct AwsKey {
    name: AwsKeyName,
    client: Option<Client>,
    signer: OnceCell<AwsSigner>,
}

impl AwsKey {
    /// A key of the account that AWS's usual configuration leads to.
    pub fn new(name: AwsKeyName) -> Self {
        Self { name, client: None, signer: OnceCell::new() }
    }

    /// A key that this client of the SDK reaches.
    pub fn with_client(name: AwsKeyName, client: Client) -> Self {
        Self { name, client: Some(client), signer: OnceCell::new() }
    }

    async fn client(&self) -> Client {
        if let Some(client) = &self.client {
            return client.clone();
        }
        let mut loader =
            aws_config::defaults(BehaviorVersion::latest()).retry_config(RetryConfig::disabled());
        if let Some(region) = self.name.region() {
            loader = loader.region(Region::new(region.to_owned()));
        }
        Client::new(&loader.load().await)
    }

    async fn signer(&self) -> Result<&AwsSigner, SigningError> {
        let made = self.signer.get_or_try_init(|| async {
            AwsSigner::new(self.client().await, self.name.id().to_owned(), None).await
        });
        made.await.map_err(|error| signing_error(&error))
    }
}

impl RemoteKey for AwsKey {
    fn connect(&self) -> BoxFuture<'_, Result<Address, SigningError>> {
        Box::pin(async { Ok(Signer::address(self.signer().await?)) })
    }

    fn sign(&self, hash: B256) -> BoxFuture<'_, Result<Signature, SigningError>> {
        Box::pin(async move {
            let signer = self.signer().await?;
            let raw = signer.sign_digest(&hash).await.map_err(|error| signing_error(&error))?;
            let even = Signature::from_signature_and_parity(raw, false);
            Ok(with_parity_of(even, hash, Signer::address(signer)))
        })
    }
}

fn signing_error(error: &AwsSignerError) -> SigningError {
    match error {
        AwsSignerError::Sign(error) => sdk_error(error),
        AwsSignerError::GetPublicKey(error) => sdk_error(error),
        other => SigningError::malformed(other),
    }
}

/// A status of 4xx says that the same question gets the same answer, unless it says that there were too many.
fn sdk_error<E>(error: &SdkError<E>) -> SigningError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let SdkError::ServiceError(said) = error else {
        return SigningError::unavailable(&DisplayErrorContext(error));
    };
    let (code, message) = (said.err().code().unwrap_or("no code"), said.err().message().unwrap_or_default());
    let what = format!("{code}: {message}");
    let is_final = (400..500).contains(&said.raw().status().as_u16()) && !BUSY_CODES.contains(&code);
    if is_final { SigningError::denied(&what) } else { SigningError::unavailable(&what) }
}
