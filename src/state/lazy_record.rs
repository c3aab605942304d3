//! Endpoints on record that a verb did not ask for: their lines, and a summary of each. Parsing a
//! thousand in full takes longer than adding one.

use std::{collections::HashSet, ops::Range};

use ipnetwork::IpNetwork;

use super::{
    entry::{is_filed, parse_all},
    file::Lines,
};
use crate::model::{Endpoint, EndpointSummary, LinkName, Mac};

/// The file of a network whose endpoints are not all parsed.
#[derive(Debug)]
pub(super) struct LazyRecord {
    file: Lines,
    parts: Vec<Parts>,
    asked_for: usize,
}

/// The parts of a summary. Strings are byte ranges of the file.
#[derive(Debug)]
struct Parts {
    target: Range<usize>,
    netns: Range<usize>,
    cookie: u64,
    ifname: Range<usize>,
    host_ifname: Option<Range<usize>>,
    mac: Mac,
    addresses: Vec<IpNetwork>,
}

impl LazyRecord {
    /// Parses the endpoints of these namespaces in full, and summarizes the others. Returns the
    /// file itself if there are no others, if a line has to be parsed in full to be understood, or
    /// if an endpoint appears twice or is of another network.
    pub(super) fn new(
        file: Lines,
        network: &LinkName,
        cookies: &[u64],
    ) -> Result<(Vec<Endpoint>, Self), Lines> {
        match sorted(&file, network, cookies) {
            Some((endpoints, parts)) if !parts.is_empty() => {
                let asked_for = endpoints.len();
                Ok((endpoints, Self { file, parts, asked_for }))
            }
            Some(_) | None => Err(file),
        }
    }

    /// Returns the summaries of the other endpoints.
    pub(super) fn summaries(&self) -> impl Iterator<Item = EndpointSummary<'_>> {
        self.parts.iter().map(|parts| EndpointSummary {
            target: self.file.at(&parts.target),
            netns: self.file.at(&parts.netns),
            cookie: parts.cookie,
            ifname: self.file.at(&parts.ifname),
            host_ifname: parts.host_ifname.as_ref().map(|place| self.file.at(place)),
            mac: parts.mac,
            addresses: &parts.addresses,
        })
    }

    /// Parses everything; returns the error of the first invalid line. On entry, `known` holds the
    /// endpoints that were parsed before, as they are by now, followed by new ones.
    pub(super) fn read(&self, known: &mut Vec<Endpoint>) -> Option<serde_json::Error> {
        let (mut all, error) = parse_all::<Endpoint>(&self.file);
        let new = known.split_off(self.asked_for);
        for endpoint in known.drain(..) {
            let id = endpoint.id();
            if let Some(there) = all.iter_mut().find(|e| e.is(&id)) {
                *there = endpoint;
            }
        }
        all.extend(new);
        *known = all;
        error
    }
}

/// Splits a file into endpoints of these namespaces and summaries of the others.
fn sorted(
    file: &Lines,
    network: &LinkName,
    cookies: &[u64],
) -> Option<(Vec<Endpoint>, Vec<Parts>)> {
    let (mut endpoints, mut parts, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for (start, entry) in file.entries_with_places() {
        let one = Parts::of(entry, start).filter(|_| is_filed(entry, network))?;
        // Without host ends, two namespaces may have a link of the same name.
        let (cookie, name) = match &one.host_ifname {
            Some(place) => (0, place),
            None => (one.cookie, &one.ifname),
        };
        if !names.insert((cookie, file.at(name))) {
            return None;
        }
        if cookies.contains(&one.cookie) {
            endpoints.push(serde_json::from_str(entry).ok()?);
        } else {
            parts.push(one);
        }
    }
    Some((endpoints, parts))
}

impl Parts {
    /// Parses the beginning of an endpoint's line at this offset. Returns `None` if the fields are
    /// not in the order of [`Endpoint`].
    fn of(line: &str, start: usize) -> Option<Self> {
        let mut values = Values { line, at: 0 };
        let target = values.next("{\"target\":\"", b'"')?;
        let netns = values.next("\",\"netns\":\"", b'"')?;
        let cookie = values.next("\",\"cookie\":", b',')?;
        let ifname = values.next(",\"ifname\":\"", b'"')?;
        // The key is absent if there is no host end.
        let host_ifname = values.next("\",\"host_ifname\":\"", b'"');
        let mac = values.next("\",\"mac\":\"", b'"')?;
        values.next("\",\"mtu\":", b',')?;
        let addresses = values.next(",\"addresses\":[", b']')?;
        let address = |quoted: &str| quoted.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
        let addresses = match &line[addresses] {
            "" => Vec::new(),
            some => some.split(',').map(address).collect::<Option<_>>()?,
        };
        let in_file = |place: Range<usize>| start + place.start..start + place.end;
        line.ends_with('}').then_some(Self {
            cookie: line[cookie].parse().ok()?,
            mac: line[mac].parse().ok()?,
            target: in_file(target),
            netns: in_file(netns),
            ifname: in_file(ifname),
            host_ifname: host_ifname.map(in_file),
            addresses,
        })
    }
}

/// Finds values in a line of JSON, one after another. It scans bytes, since there may be a thousand
/// lines.
struct Values<'l> {
    line: &'l str,
    at: usize,
}

impl Values<'_> {
    /// Returns the range of the next value between `before` and `end`; nothing in it may be
    /// escaped.
    fn next(&mut self, before: &str, end: u8) -> Option<Range<usize>> {
        let rest = self.line.as_bytes()[self.at..].strip_prefix(before.as_bytes())?;
        let start = self.at + before.len();
        let length = rest.iter().position(|b| *b == end || *b == b'\\')?;
        self.at = start + length;
        (rest[length] == end).then_some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Attachment, state::entry::Entry};

    fn endpoint(cookie: u64, addresses: &[&str]) -> Endpoint {
        let mut endpoint: Endpoint = serde_json::from_str(
            r#"{"target":"web","netns":"web","cookie":0,"ifname":"eth0","host_ifname":"nc0",
            "mac":"02:42:ac:11:00:02","mtu":1500,"addresses":[],"gateways":["172.17.0.1"],
            "routes":[],"replaced":[],"raises_lo":true}"#,
        )
        .unwrap();
        endpoint.cookie = cookie;
        let host_ifname = format!("nc{cookie}").parse().unwrap();
        endpoint.attachment = Attachment::Veth { host_ifname };
        endpoint.addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        endpoint
    }

    fn line(endpoint: &Endpoint, network: &str) -> String {
        let network = network.parse().unwrap();
        serde_json::to_string(&Entry::endpoint(&network, endpoint)).unwrap()
    }

    fn lazy(file: Lines, cookies: &[u64]) -> Result<(Vec<Endpoint>, LazyRecord), Lines> {
        LazyRecord::new(file, &"lab0".parse().unwrap(), cookies)
    }

    fn file(endpoints: &[Endpoint], tail: &str) -> Lines {
        let lines = endpoints.iter().map(|e| line(e, "lab0") + "\n");
        ["{}\n".to_owned()].into_iter().chain(lines).chain([tail.to_owned()]).collect()
    }

    #[test]
    fn an_outline_is_what_the_whole_says() {
        let all = [
            endpoint(1, &["172.17.0.2/16"]),
            endpoint(2, &[]),
            endpoint(3, &["10.0.0.2/8", "fd00::2/64"]),
            endpoint(4, &["10.0.0.3/8"]),
        ];
        let (mut endpoints, unread) = lazy(file(&all, ""), &[3]).unwrap();
        assert_eq!(endpoints, all[2..3]);
        let others: Vec<_> = [&all[0], &all[1], &all[3]].map(EndpointSummary::of).into();
        assert_eq!(unread.summaries().collect::<Vec<_>>(), others);
        endpoints[0].mtu = 1400;
        endpoints.push(endpoint(5, &[]));
        let now = endpoints.clone();
        assert!(unread.read(&mut endpoints).is_none());
        let [one, two, _, four] = all;
        let [changed, new] = now.try_into().unwrap();
        assert_eq!(endpoints, [one, two, changed, four, new]);
    }

    #[test]
    fn an_endpoint_may_have_no_host_end() {
        let inside = |cookie| Endpoint { attachment: Attachment::Macvlan, ..endpoint(cookie, &[]) };
        let all = [inside(1), inside(2)];
        let (endpoints, unread) = lazy(file(&all, ""), &[1]).unwrap();
        assert_eq!(endpoints, all[..1]);
        assert_eq!(unread.summaries().collect::<Vec<_>>(), [EndpointSummary::of(&all[1])]);
        assert!(lazy(file(&[inside(1), inside(1)], ""), &[]).is_err());
    }

    #[test]
    fn what_is_written_otherwise_is_read_in_full() {
        let one = [endpoint(1, &["172.17.0.2/16"])];
        assert!(lazy(file(&one, ""), &[]).is_ok());
        assert!(lazy(file(&one, ""), &[1]).is_err());
        let line = line(&one[0], "lab0");
        for wrong in [
            String::new(),
            "{}".into(),
            line[..line.len() - 1].into(),
            line.replace("\"target\":", "\"target\": "),
            line.replace("web", "w\\u0065b"),
            line.replace("\"cookie\":1", "\"cookie\":-1"),
            line.replace("172.17.0.2/16", "172.17.0.2/99"),
            line.replace("\"lab0\"", "\"lab1\""),
            line.replace(",\"network\":\"lab0\"", ""),
        ] {
            assert!(lazy(file(&one, &format!("{wrong}\n")), &[]).is_err(), "{wrong}");
        }
    }
}
