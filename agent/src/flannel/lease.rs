//! The values of lease keys: a host's addresses, and how packets for its subnet reach it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netcord::model::{Invalid, Mac};
use serde::{Deserialize, Serialize};

use super::json::Object;

/// What a host says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The host's IPv4 address for the others; 0.0.0.0 if it has none.
    pub public_ip: Ipv4Addr,
    /// Its IPv6 address for the others.
    pub public_ipv6: Option<Ipv6Addr>,
    /// How packets reach it.
    pub tunnel: Tunnel,
}

/// How packets reach a host: flannel's `BackendType` with its `BackendData`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tunnel {
    /// In VXLAN packets.
    Vxlan {
        /// The VXLAN network identifier.
        vni: u32,
        /// The MAC of the VTEP, by which IPv4 packets are sent.
        mac: Mac,
        /// The MAC of the VTEP, by which IPv6 packets are sent; flannel has a second one for that.
        ipv6_mac: Option<Mac>,
    },
    /// Without encapsulation, with the host as the next hop.
    HostGw,
    /// By flannel's UDP backend, whose leases name no backend, or not at all.
    Unnamed,
    /// By a backend of another name, whose data is not read.
    Other(String),
}

/// flannel's `LeaseAttrs`, in its order of fields.
#[derive(Serialize)]
struct Form<'a> {
    #[serde(rename = "PublicIP")]
    public_ip: Ipv4Addr,
    #[serde(rename = "PublicIPv6")]
    public_ipv6: Option<Ipv6Addr>,
    #[serde(rename = "BackendType", skip_serializing_if = "Option::is_none")]
    backend_type: Option<&'a str>,
    #[serde(rename = "BackendData", skip_serializing_if = "Option::is_none")]
    backend_data: Option<VxlanForm>,
    #[serde(rename = "BackendV6Data", skip_serializing_if = "Option::is_none")]
    backend_v6_data: Option<VxlanForm>,
}

#[derive(Serialize)]
struct VxlanForm {
    #[serde(rename = "VNI")]
    vni: u32,
    #[serde(rename = "VtepMAC")]
    mac: Mac,
}

impl Lease {
    /// Returns the address that identifies the host: IPv4, if it has one.
    pub fn host(&self) -> IpAddr {
        match self.public_ipv6 {
            Some(ipv6) if self.public_ip.is_unspecified() => ipv6.into(),
            _ => self.public_ip.into(),
        }
    }

    /// Parses a lease.
    ///
    /// # Errors
    /// It is no JSON object, has no address, or lacks what its backend needs.
    pub fn parse(text: &[u8]) -> Result<Self, Invalid> {
        let object = Object::parse(text)?;
        let lease = Self {
            public_ip: object.get("PublicIP")?.unwrap_or(Ipv4Addr::UNSPECIFIED),
            public_ipv6: object.get("PublicIPv6")?,
            tunnel: Tunnel::of(&object)?,
        };
        if lease.host().is_unspecified() {
            return Err(Invalid::new("it has no `PublicIP`"));
        }
        Ok(lease)
    }

    /// Returns the value of the key, as flannel writes it.
    #[expect(clippy::missing_panics_doc, reason = "addresses and names are JSON")]
    pub fn to_json(&self) -> String {
        let vtep = |vni, mac| VxlanForm { vni, mac };
        let (data, v6_data) = match self.tunnel {
            Tunnel::Vxlan { vni, mac, ipv6_mac } => {
                (Some(vtep(vni, mac)), ipv6_mac.map(|mac| vtep(vni, mac)))
            }
            _ => (None, None),
        };
        let form = Form {
            public_ip: self.public_ip,
            public_ipv6: self.public_ipv6,
            backend_type: self.tunnel.name(),
            backend_data: data,
            backend_v6_data: v6_data,
        };
        serde_json::to_string(&form).expect("addresses and names are JSON")
    }
}

impl Tunnel {
    /// Returns the `BackendType`, if there is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Vxlan { .. } => Some("vxlan"),
            Self::HostGw => Some("host-gw"),
            Self::Unnamed => None,
            Self::Other(name) => Some(name),
        }
    }

    fn of(lease: &Object) -> Result<Self, Invalid> {
        let name: String = lease.get("BackendType")?.unwrap_or_default();
        Ok(match name.as_str() {
            "vxlan" => {
                let data = lease.object("BackendData")?;
                let data = data.ok_or_else(|| Invalid::new("it has no `BackendData`"))?;
                Self::Vxlan {
                    vni: data.get("VNI")?.unwrap_or_default(),
                    mac: mac(&data)?,
                    ipv6_mac: lease.object("BackendV6Data")?.as_ref().map(mac).transpose()?,
                }
            }
            "host-gw" => Self::HostGw,
            "" => Self::Unnamed,
            _ => Self::Other(name),
        })
    }
}

fn mac(data: &Object) -> Result<Mac, Invalid> {
    data.get("VtepMAC")?.ok_or_else(|| Invalid::new("it has no `VtepMAC`"))
}

#[cfg(test)]
mod tests {
    use super::{Lease, Tunnel};

    /// Values that flanneld 0.20.2 wrote, and one of both families.
    const CAPTURED: [&str; 5] = [
        r#"{"PublicIP":"172.31.7.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"82:65:fc:26:2c:f1"}}"#,
        r#"{"PublicIP":"172.31.7.2","PublicIPv6":null,"BackendType":"host-gw"}"#,
        r#"{"PublicIP":"172.31.7.1","PublicIPv6":null}"#,
        r#"{"PublicIP":"172.31.7.2","PublicIPv6":"fd00::7","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"82:65:fc:26:2c:f1"},"BackendV6Data":{"VNI":1,"VtepMAC":"82:65:fc:26:2c:f2"}}"#,
        r#"{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::7","BackendType":"host-gw"}"#,
    ];

    #[test]
    fn a_lease_of_flanneld_is_read_and_written_byte_for_byte() {
        for text in CAPTURED {
            assert_eq!(Lease::parse(text.as_bytes()).unwrap().to_json(), text);
        }
    }

    #[test]
    fn the_host_is_known_by_its_ipv4_address_or_else_by_its_ipv6_address() {
        let host = |text: &str| Lease::parse(text.as_bytes()).unwrap().host().to_string();
        assert_eq!(
            CAPTURED.map(host),
            ["172.31.7.2", "172.31.7.2", "172.31.7.1", "172.31.7.2", "fd00::7"]
        );
    }

    #[test]
    fn the_case_of_keys_and_macs_and_what_others_add_do_not_matter() {
        let text = br#"{"publicip":"172.31.7.2","backendTYPE":"vxlan","x-rack":"b7",
            "BackendData":{"vni":1,"vtepMac":"82:65:FC:26:2C:F1","GBP":false}}"#;
        assert_eq!(Lease::parse(text).unwrap().to_json(), CAPTURED[0]);
    }

    #[test]
    fn a_foreign_backend_is_kept_by_its_name() {
        let text = br#"{"PublicIP":"172.31.7.2","PublicIPv6":null,"BackendType":"wireguard",
            "BackendData":{"PublicKey":"k","Port":51820}}"#;
        let tunnel = Lease::parse(text).unwrap().tunnel;
        assert_eq!(tunnel, Tunnel::Other("wireguard".into()));
    }

    #[test]
    fn what_is_no_lease_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "it is not JSON: EOF while parsing a value at line 1 column 0"),
            ("[]", "it is not a JSON object"),
            ("{}", "it has no `PublicIP`"),
            (
                r#"{"PublicIP":"172.31.7"}"#,
                "`PublicIP` cannot be \"172.31.7\": invalid IPv4 address syntax",
            ),
            (
                r#"{"PublicIP":"172.31.7.2","publicIP":"172.31.7.3"}"#,
                "it has both `PublicIP` and `publicIP`",
            ),
            (r#"{"PublicIP":"172.31.7.2","BackendType":"vxlan"}"#, "it has no `BackendData`"),
            (
                r#"{"PublicIP":"172.31.7.2","BackendType":"vxlan","BackendData":7}"#,
                "`BackendData` is not a JSON object",
            ),
            (
                r#"{"PublicIP":"172.31.7.2","BackendType":"vxlan","BackendData":{"VNI":1}}"#,
                "it has no `VtepMAC`",
            ),
            (
                r#"{"PublicIP":"172.31.7.2","BackendType":"vxlan","BackendData":{"VtepMAC":"01:00:5e:00:00:01"}}"#,
                "`VtepMAC` cannot be \"01:00:5e:00:00:01\": `01:00:5e:00:00:01` is a multicast address, not one of a link",
            ),
        ] {
            assert_eq!(Lease::parse(text.as_bytes()).unwrap_err().message, reason, "{text}");
        }
    }
}
