//! What of a credential can be checked without books and cryptography: its challenge, its protocol, its terms.

use std::cell::RefCell;

use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::{Credential, EchoError, Payload, Request};
use farebox_core::channel::{Identity, Rejection, Terms};
use farebox_core::units::{Address, Amount, ChannelId};
use farebox_core::voucher::v2::KnownIds;
use farebox_core::voucher::{AnySignedVoucher, ProtocolVersion, Voucher};
use metrics::counter;

use super::config::Escrow;
use super::door::Inner;
use super::offer::{Offer, Quote};
use super::problem::{self, Refused};

thread_local! {
    /// Which terms were proven to be those of their channel.
    static KNOWN_IDS: RefCell<KnownIds> = RefCell::default();
}

/// A credential whose challenge is ours and whose terms are those of one of our escrows.
pub(super) struct Checked {
    pub(super) credential: Credential,
    pub(super) escrow: Escrow,
    /// The token that the challenge named.
    pub(super) token: Address,
    /// What the offer asks for one unit; what it asks of who buys nothing does not matter.
    pub(super) price: Amount,
    /// Whether the challenge promised to pay the fees.
    pub(super) is_sponsored: bool,
    pub(super) channel: ChannelId,
}

/// What a challenge of ours asked.
struct Promised<'a> {
    escrow: &'a Escrow,
    token: Address,
    price: Amount,
    is_sponsored: bool,
}

impl Inner {
    /// Checks what can be checked without books and cryptography: challenge, protocol, terms, channel id.
    pub(super) fn check(
        &self,
        credential: Credential,
        offer: &Offer,
        is_paid: bool,
        now_ms: u64,
        spoken: &mut Option<ProtocolVersion>,
    ) -> Result<Checked, Refused> {
        let is_top_up = matches!(credential.payload, Payload::TopUp(_));
        let now = UnixMillis(now_ms);
        let (keys, realm) = (&self.config.keys, &self.config.realm);
        let echo = &credential.challenge;
        echo.authenticate(keys, realm, now).map_err(|error| problem::bad_challenge(&error, is_top_up))?;
        let buys = is_paid || matches!(credential.payload, Payload::Open(_));
        let Promised { escrow, token, price, is_sponsored } =
            self.terms_of(echo.request(), offer, is_paid, buys, spoken, is_top_up)?;
        credential.payload.check(escrow.protocol).map_err(problem::malformed)?;
        let channel = credential.payload.channel();
        if let (ProtocolVersion::V2, Some(descriptor)) = (escrow.protocol, credential.payload.descriptor()) {
            let terms = Terms::V2(*descriptor);
            let identity = Identity { chain_id: escrow.chain_id, escrow: escrow.address, terms };
            let advertised = self.config.advertised(escrow, token);
            identity.check(&advertised).map_err(|found| problem::rejection(&found, channel))?;
            let (chain, escrow) = (escrow.chain_id, escrow.address);
            if !KNOWN_IDS.with_borrow_mut(|known| known.prove(descriptor, chain, escrow, channel)) {
                return Err(problem::other_channel_id(channel));
            }
        }
        let escrow = *escrow;
        Ok(Checked { credential, escrow, token, price, is_sponsored, channel })
    }

    /// The escrow, the token and the price of a request of ours. Who buys something answers a challenge of this very
    /// offer: the price counts for service, the terms for a new channel. A voucher, a top-up or a close may answer any
    /// challenge of ours whose escrow we still serve.
    fn terms_of(
        &self,
        text: &str,
        offer: &Offer,
        is_paid: bool,
        buys: bool,
        spoken: &mut Option<ProtocolVersion>,
        is_top_up: bool,
    ) -> Result<Promised<'_>, Refused> {
        let escrow = |quoted: &Escrow| self.config.escrows.iter().find(|escrow| *escrow == quoted);
        if let Some(quote) = offer.quotes().iter().find(|quote| quote.encoded == text)
            && let Some(escrow) = escrow(&quote.escrow)
        {
            *spoken = Some(escrow.protocol);
            let is_sponsored = quote.request.details.fee_payer;
            return Ok(Promised { escrow, token: quote.token, price: quote.price, is_sponsored });
        }
        // Another route's, or one from before a change of hints.
        let unknown = || problem::bad_challenge(&EchoError::Unknown, is_top_up);
        let asked = Request::decode(text).map_err(|_| unknown())?;
        *spoken = Some(asked.details.protocol);
        let other = || problem::other_challenge(is_top_up);
        if buys {
            let same = |quote: &&Quote| {
                if is_paid { quote.request.same_price(&asked) } else { quote.request.same_terms(&asked) }
            };
            let quote = offer.quotes().iter().find(same).ok_or_else(other)?;
            let escrow = escrow(&quote.escrow).ok_or_else(other)?;
            // Both: what was promised, and what the route still does.
            let is_sponsored = asked.details.fee_payer && quote.request.details.fee_payer;
            return Ok(Promised { escrow, token: quote.token, price: quote.price, is_sponsored });
        }
        let details = &asked.details;
        let ours = self.config.escrows.iter().find(|escrow| {
            (escrow.chain_id, escrow.address, escrow.protocol, escrow.operator)
                == (details.chain_id, details.escrow, details.protocol, details.operator)
        });
        let escrow = ours.filter(|_| asked.recipient == self.config.payee).ok_or_else(other)?;
        let is_sponsored = details.fee_payer && self.config.fee_payer;
        Ok(Promised { escrow, token: asked.currency, price: asked.amount, is_sponsored })
    }

    /// Refuses a channel whose requests come too fast or fail too often. A close never is: it frees the payer's money,
    /// and ours.
    pub(super) fn check_rates(&self, checked: &Checked, now_ms: u64) -> Result<(), Refused> {
        if matches!(checked.credential.payload, Payload::Close(_)) {
            return Ok(());
        }
        if let Some(wait_ms) = self.failures.channel_waits(checked.channel, now_ms) {
            counter!("farebox_door_limited_total", "limit" => "channel").increment(1);
            return Err(problem::too_many_failures(wait_ms));
        }
        if let Some(wait_ms) = self.requests.channel_waits(checked.channel, now_ms) {
            counter!("farebox_door_limited_total", "limit" => "channel_requests").increment(1);
            return Err(problem::too_many_requests(wait_ms));
        }
        Ok(())
    }

    /// The credential's voucher, well-formed and not verified yet.
    pub(super) fn parse_voucher(&self, checked: &Checked) -> Result<AnySignedVoucher, Refused> {
        let payload = &checked.credential.payload;
        let signature = match payload {
            Payload::Open(open) => &open.voucher.signature,
            Payload::Voucher(fields) | Payload::Close(fields) => &fields.signature,
            // A top-up has no voucher, and an empty signature parses as none.
            Payload::TopUp(_) => &Vec::new(),
        };
        let voucher = Voucher { channel_id: checked.channel, cumulative_amount: payload.amount() };
        AnySignedVoucher::parse(checked.escrow.protocol, voucher, signature)
            .map_err(|error| problem::voucher(&error, checked.channel))
    }

    /// Checks that the books' channel has the terms of the challenge. A v2 credential proved that already:
    /// its descriptor hashes to the channel id.
    pub(super) async fn check_known(&self, checked: &Checked) -> Result<(), Refused> {
        match checked.escrow.protocol {
            ProtocolVersion::V2 => Ok(()),
            ProtocolVersion::V1 => self.known(checked).await.map(|_| ()),
        }
    }

    /// The channel in the books, if it has the terms of the challenge.
    pub(super) async fn known(&self, checked: &Checked) -> Result<crate::Channel, Refused> {
        let channel = checked.channel;
        let found = self.engine.read(channel).await.map_err(|error| problem::engine(&error))?;
        let found = found.ok_or_else(|| problem::rejection(&Rejection::ChannelNotFound, channel))?;
        let advertised = self.config.advertised(&checked.escrow, checked.token);
        found.identity.check(&advertised).map_err(|rejection| problem::rejection(&rejection, channel))?;
        Ok(found)
    }
}
