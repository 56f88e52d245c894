//! The ways to pay at once that the configuration names beside transfers on chain.

use std::sync::Arc;

use farebox_engine::http::{DoorConfig, EvmCharge};

use super::ServeError;
use crate::config::{Config, X402};
use crate::facilitator::HttpFacilitator;

/// Adds them to what the door is told.
pub(super) fn add(door: &mut DoorConfig, config: &Config) -> Result<(), ServeError> {
    #[cfg(feature = "charge")]
    if let (Some(stripe), Some(secret_key)) = (&config.stripe, crate::keys::stripe_key(config)?) {
        let config = farebox_engine::http::StripeConfig {
            secret_key: secret_key.as_str().into(),
            network_id: stripe.network_id.clone(),
            payment_method_types: stripe.payment_method_types.clone(),
            currency: stripe.currency.clone(),
            api_url: stripe.api_url.as_ref().map(ToString::to_string),
        };
        door.methods.push(Arc::new(farebox_engine::http::StripeCharge::new(config)));
    }
    if let Some(X402 { terms, facilitator, origin }) = &config.x402 {
        let what = "read the root certificates for the facilitator";
        let facilitator =
            HttpFacilitator::new(facilitator.clone()).map_err(|cause| ServeError::System { what, cause })?;
        door.evm = Some(Arc::new(EvmCharge::new(terms.clone(), Arc::new(facilitator), origin.clone())));
    }
    Ok(())
}
