//! A rule as the kernel reports it.
//!
//! The crate's parser of a rule formats the text of an error for each expression, also where
//! nothing fails, which took a third of the time of a diagnosis. So the list of expressions is
//! taken apart here; the crate parses each of them.

use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NlaBuffer, NlasIterator, Parseable,
};
use netlink_packet_netfilter::{
    NetfilterProtoFamily,
    nftables::{ListAttribute, RuleAttribute},
};

/// The size of `struct nfgenmsg`, in bytes.
const HEADER: usize = 4;
/// `NFTA_RULE_EXPRESSIONS`
const EXPRESSIONS: u16 = 4;

/// A rule (`NFT_MSG_NEWRULE`).
#[derive(Debug)]
pub(in crate::kernel::firewall) struct RuleAnswer {
    /// The family of its table: the first byte of `struct nfgenmsg`.
    pub(in crate::kernel::firewall) family: NetfilterProtoFamily,
    pub(in crate::kernel::firewall) attributes: Vec<RuleAttribute>,
}

impl NetlinkDeserializable for RuleAnswer {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let family = payload.first().copied().unwrap_or_default().into();
        let attributes = NlasIterator::new(payload.get(HEADER..).unwrap_or_default());
        let attributes = attributes.map(|nla| attribute(&nla?)).collect::<Result<_, _>>()?;
        Ok(Self { family, attributes })
    }
}

fn attribute(nla: &NlaBuffer<&[u8]>) -> Result<RuleAttribute, DecodeError> {
    if nla.kind() != EXPRESSIONS {
        return RuleAttribute::parse(nla);
    }
    let list = NlasIterator::new(nla.value()).map(|one| ListAttribute::parse(&one?));
    list.collect::<Result<_, _>>().map(RuleAttribute::Expressions)
}
