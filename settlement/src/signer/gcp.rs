//! A key version of Google Cloud KMS (`EC_SIGN_SECP256K1_SHA256`), by alloy's signer.
//!
//! Credentials come from where Google's own tools take them: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, the
//! well-known file, the machine's metadata server.

use alloy::primitives::{Address, B256, Signature};
use alloy::signers::Signer;
use alloy_signer_gcp::gcloud_sdk::google::cloud::kms::v1::key_management_service_client::KeyManagementServiceClient;
use alloy_signer_gcp::gcloud_sdk::tonic::{Code, Status};
use alloy_signer_gcp::gcloud_sdk::{GCP_DEFAULT_SCOPES, GoogleApi, TokenSourceType};
use alloy_signer_gcp::{GcpKeyRingRef, GcpSigner, GcpSignerError, KeySpecifier};
use farebox_engine::chain::BoxFuture;
use tokio::sync::OnceCell;

use super::service::with_parity_of;
use super::{GcpKeyName, RemoteKey, SigningError};

const ENDPOINT: &str = "https://cloudkms.googleapis.com";

/// Where access tokens come from; made anew for each first contact.
type Tokens = Box<dyn Fn() -> TokenSourceType + Send + Sync>;

/// A key version of Google Cloud KMS.
pub struct GcpKey {
    name: GcpKeyName,
    endpoint: String,
    tokens: Tokens,
    signer: OnceCell<GcpSigner>,
}

impl GcpKey {
    /// A key of the project that Google's usual credentials have access to.
    pub fn new(name: GcpKeyName) -> Self {
        Self::at(name, ENDPOINT.to_owned(), Box::new(|| TokenSourceType::Default))
    }

    pub(super) fn at(name: GcpKeyName, endpoint: String, tokens: Tokens) -> Self {
        Self { name, endpoint, tokens, signer: OnceCell::new() }
    }

    async fn signer(&self) -> Result<&GcpSigner, SigningError> {
        self.signer.get_or_try_init(|| self.connect_now()).await
    }

    async fn connect_now(&self) -> Result<GcpSigner, SigningError> {
        let GcpKeyName { project, location, ring, key, version } = &self.name;
        let client = GoogleApi::from_function_with_token_source(
            KeyManagementServiceClient::new,
            &self.endpoint,
            None,
            GCP_DEFAULT_SCOPES.clone(),
            (self.tokens)(),
        );
        let client = client.await.map_err(|error| SigningError::unavailable(&error))?;
        let key = KeySpecifier::new(GcpKeyRingRef::new(project, location, ring), key, *version);
        GcpSigner::new(client, key, None).await.map_err(|error| signing_error(&error))
    }
}

impl RemoteKey for GcpKey {
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

fn signing_error(error: &GcpSignerError) -> SigningError {
    match error {
        GcpSignerError::RequestError(status) => status_error(status),
        GcpSignerError::GoogleKmsError(error) => SigningError::unavailable(error),
        other => SigningError::malformed(other),
    }
}

fn status_error(status: &Status) -> SigningError {
    let what = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::NotFound
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::Unimplemented => SigningError::denied(&what),
        _ => SigningError::unavailable(&what),
    }
}
