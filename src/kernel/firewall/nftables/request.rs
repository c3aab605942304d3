//! The objects of our table as requests to the kernel (`<linux/netfilter/nf_tables.h>`).

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{
        ChainAttribute, ChainMessage, DataAttribute, Hook as HookAttribute, HookNumber,
        InetHookNumber, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute,
        SetDescription, SetElementAttribute, SetElementList, SetElementMessage, SetFlags,
        SetMessage, TableAttribute, TableMessage,
    },
};

use super::{data, expression};
use crate::plan::nft::{
    Chain, DataType, Element, ElementData, Field, NetworkRules, Nft, Point, PortElements, Rule,
    Set, TABLE, chains, sets,
};

// NF_ACCEPT, NFT_DATA_VERDICT, NFT_USERDATA_*_COMMENT
const ACCEPT: u32 = 1;
const VERDICT: u32 = 0xffff_ff00;
const COMMENT: u8 = 0;
// NFTNL_UDATA_SET_KEYBYTEORDER, its length, BYTEORDER_HOST_ENDIAN
const HOST_ENDIAN_KEY: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};
// NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_FIELD_LEN
const VALUE: u16 = 1;
const LIST_ELEMENT: u16 = 1;
const FIELD_LENGTH: u16 = 1;

/// A request, with its flags.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) message: NfTablesMessage,
    pub(super) flags: u16,
}

const MAKE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// A message of the family `inet`.
pub(super) fn inet(message: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message)
}

/// Returns the requests that create an object, with the exclusive flag.
pub(super) fn create(nft: &Nft) -> Vec<Request> {
    match nft {
        Nft::Table => table(MAKE),
        Nft::Network(rules) => network(rules, false),
        Nft::Ports(ports) => ports.elements.iter().map(|e| port(ports, e)).collect(),
    }
}

/// Returns the requests that delete an object.
pub(super) fn delete(nft: &Nft) -> Vec<Request> {
    let request = |message| Request { message, flags: 0 };
    match nft {
        Nft::Table => vec![request(NfTablesMessage::DeleteTable(TableMessage {
            attributes: vec![TableAttribute::Name(TABLE.to_owned())],
        }))],
        Nft::Network(rules) => {
            let elements = rules.elements();
            let elements = elements.iter().rev().map(|(set, element)| keys(set, element));
            let chains = rules.chains().flat_map(|(_, c)| {
                let gone = vec![
                    ChainAttribute::Table(TABLE.to_owned()),
                    ChainAttribute::Name(c.name.to_string()),
                ];
                [empty(&c.name), NfTablesMessage::DeleteChain(ChainMessage { attributes: gone })]
            });
            elements.chain(chains).map(request).collect()
        }
        Nft::Ports(PortElements { set, elements, .. }) => {
            elements.iter().map(|e| request(keys(set, e))).collect()
        }
    }
}

/// Returns the requests that create the chains of a network, or replace them.
pub(super) fn network(rules: &NetworkRules, anew: bool) -> Vec<Request> {
    let mut requests = Vec::new();
    let flags = if anew { NLM_F_CREATE } else { MAKE };
    for (_, chain) in rules.chains() {
        requests.push(Request { message: new_chain(&chain), flags });
        if anew {
            requests.push(Request { message: empty(&chain.name), flags: 0 });
        }
        requests.extend(chain.rules.iter().map(|rule| new_rule(&chain, rule)));
    }
    let elements = rules.elements();
    requests.extend(elements.iter().map(|(set, element)| Request {
        message: NfTablesMessage::NewSetElement(list(set, attributes(set, element, None))),
        flags,
    }));
    requests
}

/// Returns the requests that create what all networks share. The flags may allow that it exists,
/// with empty chains.
pub(super) fn table(flags: u16) -> Vec<Request> {
    let table = NfTablesMessage::NewTable(TableMessage {
        attributes: vec![TableAttribute::Name(TABLE.to_owned())],
    });
    let mut requests = vec![Request { message: table, flags }];
    let made = sets().zip(1..).map(|(set, id)| Request { message: new_set(set, id), flags });
    requests.extend(made);
    for chain in chains() {
        requests.push(Request { message: new_chain(&chain), flags });
        requests.extend(chain.rules.iter().map(|rule| new_rule(&chain, rule)));
    }
    requests
}

fn new_set(set: &Set, id: u32) -> NfTablesMessage {
    let mut flags = SetFlags::empty();
    flags.set(SetFlags::Map, set.data != DataType::None);
    flags.set(SetFlags::Interval | SetFlags::Concat, set.interval);
    let mut attributes = vec![
        SetAttribute::Table(TABLE.to_owned()),
        SetAttribute::Name(set.name.to_owned()),
        SetAttribute::Flags(flags),
        SetAttribute::KeyType(data::type_number(set.key)),
        SetAttribute::KeyLen(data::length(set.key)),
        SetAttribute::Id(id),
    ];
    if set.key.contains(&Field::Link) {
        // Tells `nft` the byte order, without which it would print names as numbers.
        attributes.push(SetAttribute::UserData(HOST_ENDIAN_KEY.to_vec()));
    }
    match &set.data {
        DataType::None => {}
        DataType::Verdict => attributes.push(SetAttribute::DataType(VERDICT)),
        DataType::Fields(fields) => attributes.extend([
            SetAttribute::DataType(data::type_number(fields)),
            SetAttribute::DataLen(data::length(fields)),
        ]),
    }
    if set.interval {
        let field = |length: u32| {
            let length = DefaultNla::new(FIELD_LENGTH, length.to_be_bytes().to_vec());
            nested(LIST_ELEMENT, &[length])
        };
        let fields = data::field_lengths(set.key).map(field).collect();
        attributes.push(SetAttribute::Description(vec![SetDescription::Concat(fields)]));
    }
    NfTablesMessage::NewSet(SetMessage { attributes })
}

fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; inner.buffer_len()];
    inner.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

fn new_chain(chain: &Chain) -> NfTablesMessage {
    let mut attributes =
        vec![ChainAttribute::Table(TABLE.to_owned()), ChainAttribute::Name(chain.name.to_string())];
    if let Some(hook) = &chain.hook {
        let point = match hook.point {
            Point::Prerouting => InetHookNumber::PreRouting,
            Point::Forward => InetHookNumber::Forward,
            Point::Output => InetHookNumber::LocalOut,
            Point::Postrouting => InetHookNumber::PostRouting,
        };
        attributes.extend([
            ChainAttribute::Hook(vec![
                HookAttribute::Number(HookNumber::Inet(point)),
                HookAttribute::Priority(hook.priority.cast_unsigned()),
            ]),
            ChainAttribute::Type(hook.kind.to_owned()),
            ChainAttribute::Policy(ACCEPT),
        ]);
    }
    NfTablesMessage::NewChain(ChainMessage { attributes })
}

fn new_rule(chain: &Chain, rule: &Rule) -> Request {
    let attributes = vec![
        RuleAttribute::Table(TABLE.to_owned()),
        RuleAttribute::Chain(chain.name.to_string()),
        RuleAttribute::Expressions(expression::expressions(rule)),
        RuleAttribute::UserData(comment(rule.why)),
    ];
    let message = NfTablesMessage::NewRule(RuleMessage { attributes });
    Request { message, flags: NLM_F_CREATE | NLM_F_APPEND }
}

/// Deletes all rules of a chain.
pub(super) fn empty(chain: &str) -> NfTablesMessage {
    NfTablesMessage::DeleteRule(RuleMessage { attributes: of_chain(chain) })
}

/// Identifies a chain of our table, for its rules.
pub(super) fn of_chain(chain: &str) -> Vec<RuleAttribute> {
    vec![RuleAttribute::Table(TABLE.to_owned()), RuleAttribute::Chain(chain.to_owned())]
}

fn port(ports: &PortElements, element: &Element) -> Request {
    let attributes = attributes(ports.set, element, Some(&ports.comment));
    Request { message: NfTablesMessage::NewSetElement(list(ports.set, attributes)), flags: MAKE }
}

/// A list of one element of a set.
pub(super) fn list(set: &Set, attributes: Vec<SetElementAttribute>) -> SetElementMessage {
    let mut message = of_set(set);
    message.attributes.push(SetElementList::Elements(vec![ListAttribute::Element(attributes)]));
    message
}

/// All elements of a set.
pub(super) fn of_set(set: &Set) -> SetElementMessage {
    SetElementMessage {
        attributes: vec![
            SetElementList::Table(TABLE.to_owned()),
            SetElementList::Set(set.name.to_owned()),
        ],
    }
}

fn keys(set: &Set, element: &Element) -> NfTablesMessage {
    NfTablesMessage::DeleteSetElement(list(set, key(set, element)))
}

/// The key of an element, which identifies it.
pub(super) fn key(set: &Set, element: &Element) -> Vec<SetElementAttribute> {
    let (low, high) = data::key(element);
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(low))];
    if set.interval {
        attributes.push(SetElementAttribute::KeyEnd(vec![DefaultNla::new(VALUE, high)]));
    }
    attributes
}

fn attributes(set: &Set, element: &Element, text: Option<&str>) -> Vec<SetElementAttribute> {
    let mut attributes = key(set, element);
    attributes.extend(
        match &element.data {
            ElementData::None => None,
            ElementData::Jump(chain) => Some(DataAttribute::Verdict(expression::jump(chain))),
            ElementData::Values(values) => Some(DataAttribute::Value(data::values(values))),
        }
        .map(SetElementAttribute::Data),
    );
    attributes.extend(text.map(|text| SetElementAttribute::UserData(comment(text))));
    attributes
}

/// Returns a comment in the format of `nft`: type, length with the terminating zero, text.
fn comment(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    let mut bytes = vec![COMMENT, length];
    bytes.extend(text.bytes().take(usize::from(length) - 1));
    bytes.push(0);
    bytes
}

/// Parses a comment.
pub(super) fn read_comment(bytes: &[u8]) -> Option<String> {
    let [COMMENT, length, rest @ ..] = bytes else { return None };
    let text = rest.get(..usize::from(length.checked_sub(1)?))?;
    String::from_utf8(text.to_vec()).ok()
}
