//! Digests against alloy's EIP-712, and channel ids against alloy's ABI encoder.

use alloy_sol_types::{SolStruct, SolValue, eip712_domain};
use rand::RngExt;

use super::signers::seeded;
use crate::units::{Address, Amount, B256, ChainId, ChannelId};
use crate::voucher::{AnyDomain, Domain, ProtocolVersion, V1, V2, Voucher, VoucherError, v1, v2};

mod first {
    alloy_sol_types::sol! {
        struct Voucher { bytes32 channelId; uint128 cumulativeAmount; }
    }
}

mod second {
    alloy_sol_types::sol! {
        struct Voucher { bytes32 channelId; uint96 cumulativeAmount; }
    }
}

#[test]
fn digests_are_those_of_eip712() {
    let mut rng = seeded(712);
    for _ in 0..200 {
        let chain = ChainId(rng.random());
        let escrow = Address::new(rng.random());
        let id = B256::new(rng.random());
        let large = Amount::new(rng.random());
        let small = Amount::new(rng.random::<u128>() >> 32);

        let domain = Domain::<V1>::new(chain, escrow);
        let eip712 = eip712_domain! {
            name: "Tempo Stream Channel", version: "1", chain_id: chain.0, verifying_contract: escrow,
        };
        let message = first::Voucher { channelId: id, cumulativeAmount: large.get() };
        let voucher = Voucher { channel_id: ChannelId(id), cumulative_amount: large };
        assert_eq!(domain.separator(), eip712.separator());
        assert_eq!(domain.digest(&voucher), Ok(message.eip712_signing_hash(&eip712)));

        let domain = Domain::<V2>::new(chain, escrow);
        let eip712 = eip712_domain! {
            name: "TIP20 Channel Reserve", version: "1", chain_id: chain.0, verifying_contract: escrow,
        };
        let amount = small.get().try_into().unwrap();
        let message = second::Voucher { channelId: id, cumulativeAmount: amount };
        let voucher = Voucher { channel_id: ChannelId(id), cumulative_amount: small };
        assert_eq!(domain.digest(&voucher), Ok(message.eip712_signing_hash(&eip712)));
    }
}

#[test]
fn v2_amounts_end_at_96_bits_and_v1_amounts_at_128() {
    let voucher = |amount| Voucher { channel_id: ChannelId(B256::ZERO), cumulative_amount: amount };
    let above = Amount::new(1 << 96);
    let second = Domain::<V2>::tempo(ChainId(4217));
    assert!(second.digest(&voucher(Amount::MAX_V2)).is_ok());
    let refused = VoucherError::AmountTooLarge { found: above, max: Amount::MAX_V2 };
    assert_eq!(second.digest(&voucher(above)), Err(refused));
    let first = Domain::<V1>::new(ChainId(4217), Address::ZERO);
    assert!(first.digest(&voucher(above)).is_ok());
    assert!(first.digest(&voucher(Amount::MAX)).is_ok());
}

#[test]
fn channel_ids_are_those_of_abi_encode() {
    let mut rng = seeded(1034);
    let word = alloy_primitives::U256::from;
    for _ in 0..50 {
        let chain = ChainId(rng.random());
        let mut address = || Address::new(rng.random());
        let (escrow, payer, payee) = (address(), address(), address());
        let (operator, token, authorized_signer) = (address(), address(), address());
        let (salt, expiring_nonce_hash) = (B256::new(rng.random()), B256::new(rng.random()));

        let terms = v1::Terms { payer, payee, token, salt, authorized_signer };
        let encoded = (payer, payee, token, salt, authorized_signer, escrow, word(chain.0)).abi_encode();
        let domain = Domain::<V1>::new(chain, escrow);
        assert_eq!(domain.channel_id(&terms).0, alloy_primitives::keccak256(encoded));

        let terms =
            v2::Descriptor { payer, payee, operator, token, salt, authorized_signer, expiring_nonce_hash };
        let parties = (payer, payee, operator, token, salt, authorized_signer);
        let encoded =
            [parties.abi_encode(), (expiring_nonce_hash, escrow, word(chain.0)).abi_encode()].concat();
        let domain = Domain::<V2>::new(chain, escrow);
        assert_eq!(domain.channel_id(&terms).0, alloy_primitives::keccak256(encoded));
        assert_eq!(terms.channel_id(chain, escrow), domain.channel_id(&terms));
    }
}

#[test]
fn the_payer_signs_when_no_signer_is_authorized() {
    let payer = Address::repeat_byte(1);
    let signer = Address::repeat_byte(2);
    let other = Address::repeat_byte(3);
    let salt = B256::ZERO;
    let first = |authorized_signer| v1::Terms { payer, payee: other, token: other, salt, authorized_signer };
    assert_eq!(first(Address::ZERO).expected_signer(), payer);
    assert_eq!(first(signer).expected_signer(), signer);
    let second = |authorized_signer| v2::Descriptor {
        payer,
        payee: other,
        operator: other,
        token: other,
        salt,
        authorized_signer,
        expiring_nonce_hash: salt,
    };
    assert_eq!(second(Address::ZERO).expected_signer(), payer);
    assert_eq!(second(signer).expected_signer(), signer);
}

#[test]
fn the_reserve_has_its_fixed_address() {
    let domain = Domain::<V2>::tempo(ChainId(4217));
    assert_eq!(alloc::format!("{:#x}", domain.escrow()), "0x4d50500000000000000000000000000000000000");
    let any = AnyDomain::new(ProtocolVersion::V2, ChainId(4217), v2::CHANNEL_RESERVE);
    assert_eq!(any, AnyDomain::V2(domain));
}
