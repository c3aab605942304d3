//! Bodies that dockerd 20.10 sent, and bodies that nobody should send.

use proptest::prelude::*;
use serde_json::Value;

use super::{
    options::{Kind, Publisher, Settings},
    protocol::{
        CreateEndpoint, CreateNetwork, Join, OfEndpoint, OfNetwork, OfPool, Program,
        ReleaseAddress, RequestAddress, RequestPool, read, whose,
    },
    store::Asked,
    wanted::Wanted,
};
use crate::{
    model::{Flag, MacvlanMode},
    ops::hostile,
};

const NETWORK: &str = "17cd53bf6e5900fb12a968c37cd8e4f5ec5dab4b286c83fa2f1316c48a6fa0a8";
const ENDPOINT: &str = "d3393de0a6ab78e5ac25978229ff1192925054475b37633fb5064ba3e53c4ed7";

fn create_network(generic: &str) -> String {
    format!(
        r#"{{"NetworkID":"{NETWORK}","Options":{{"com.docker.network.enable_ipv6":false,"com.docker.network.generic":{generic}}},"IPv4Data":[{{"AddressSpace":"LocalDefault","Gateway":"10.50.0.1/24","Pool":"10.50.0.0/24"}}],"IPv6Data":[]}}"#
    )
}

fn create_endpoint() -> String {
    format!(
        r#"{{"NetworkID":"{NETWORK}","EndpointID":"{ENDPOINT}","Interface":{{"Address":"10.50.0.50/24","AddressIPv6":"","MacAddress":"02:42:0a:32:00:32"}},"Options":{{"com.docker.network.endpoint.exposedports":[{{"Proto":6,"Port":80}}],"com.docker.network.portmap":[{{"Proto":6,"IP":"","Port":80,"HostIP":"","HostPort":8080,"HostPortEnd":8080}},{{"Proto":17,"IP":"","Port":53,"HostIP":"127.0.0.1","HostPort":0,"HostPortEnd":0}},{{"Proto":6,"IP":"","Port":81,"HostIP":"::","HostPort":9000,"HostPortEnd":9010}}],"com.docker.network.endpoint.macaddress":"AgAAAABQ"}}}}"#
    )
}

fn settings(generic: &str) -> Result<Settings, String> {
    let request: CreateNetwork = read(create_network(generic).as_bytes()).unwrap();
    Settings::read(&request).map_err(|error| error.to_string())
}

#[test]
fn a_network_is_read_as_docker_asks_for_it() {
    let plain = settings("{}").unwrap();
    assert_eq!(plain.network().as_str(), "nc-17cd53bf6e59");
    assert_eq!((plain.publisher, plain.prefix.as_str()), (Publisher::Netcord, "eth"));
    let Kind::Made(Wanted::Bridge(bridge)) = plain.kind else { panic!("{plain:?}") };
    assert_eq!(bridge.subnet[0].0.to_string(), "10.50.0.0/24");
    assert_eq!(bridge.gateway[0].to_string(), "10.50.0.1");

    let prefixed = settings(
        r#"{"com.docker.network.bridge.name":"br7","com.docker.network.driver.mtu":"1400",
            "com.docker.network.bridge.enable_icc":"false","no-spoof":"true","ports":"docker",
            "com.docker.network.bridge.enable_ip_masquerade":"false","host_binding_ipv4":"127.0.0.1",
            "com.docker.network.container_iface_prefix":"lan"}"#,
    )
    .unwrap();
    assert_eq!((prefixed.publisher, prefixed.prefix.as_str()), (Publisher::Docker, "lan"));
    assert_eq!(prefixed.binding, Some("127.0.0.1".parse().unwrap()));
    let Kind::Made(Wanted::Bridge(bridge)) = prefixed.kind else { panic!("{prefixed:?}") };
    assert_eq!((bridge.name.as_str(), bridge.mtu), ("br7", Some(1400)));
    for flag in [Flag::Isolate, Flag::NoMasquerade, Flag::NoSpoof] {
        assert!(bridge.flags.has(flag), "{flag:?}");
    }
    assert!(!bridge.flags.has(Flag::Internal));

    assert_eq!(settings(r#"{"network":"pods"}"#).unwrap().network().as_str(), "pods");
}

#[test]
fn options_without_a_meaning_are_refused_by_name() {
    for (options, why) in [
        (r#"{"foo":"bar"}"#, "option `foo=bar`: netcord does not know it"),
        (r#"{"com.docker.network.bridge.x":"1"}"#, "com.docker.network.bridge.x=1"),
        (
            r#"{"driver":"overlay","subnet":"10.5.0.0/16"}"#,
            "--subnet 10.50.0.0/24: it is outside of `-o subnet=10.5.0.0/16`",
        ),
        (r#"{"ports":"both"}"#, "by `netcord` or by `docker`"),
        (r#"{"driver":"ipvlan"}"#, "no such driver"),
        (r#"{"driver":"macvlan"}"#, "-o parent="),
        (r#"{"driver":"macvlan","parent":"eth0","mode":"l3"}"#, "bridge, private, vepa or"),
        (r#"{"driver":"macvlan","parent":"eth0","isolate":"true"}"#, "does not have it"),
        (r#"{"driver":"underlay"}"#, "-o parent="),
        (r#"{"driver":"underlay","parent":"eth0","mtu":"1400"}"#, "does not have it"),
        (r#"{"parent":"eth0"}"#, "driver bridge does not have it"),
        (r#"{"driver":"overlay"}"#, "-o subnet="),
        (
            r#"{"driver":"overlay","subnet":"10.48.0.0/12","backend":"ipip"}"#,
            "vxlan, host-gw or udp",
        ),
        (r#"{"driver":"overlay","store":"http://192.0.2.9:2379"}"#, "comes from the store"),
        (r#"{"network":"pods","driver":"bridge"}"#, "`pods` exists, and is not changed"),
        (r#"{"mtu":"1"}"#, "from 68"),
        (r#"{"bridge.name":"a/b"}"#, "bridge.name=a/b"),
        (r#"{"isolate":"perhaps"}"#, "`true` or `false`"),
        (r#"{"network":"pods","mtu":"1400"}"#, "`pods` exists, and is not changed"),
        (r#"{"container_iface_prefix":"much-too-long-a-name"}"#, "container_iface_prefix"),
    ] {
        let error = settings(options).unwrap_err();
        assert!(error.contains(why), "{options}: {error}");
    }
}

#[test]
fn a_mistyped_option_is_answered_with_the_right_one() {
    let request: CreateNetwork = read(create_network(r#"{"networks":"pods"}"#).as_bytes()).unwrap();
    let error = anyhow::Error::from(Settings::read(&request).unwrap_err());
    assert_eq!(crate::error::hint(&error).unwrap(), "did you mean `network`?");
}

#[test]
fn each_driver_has_its_request() {
    let lan = settings(r#"{"driver":"macvlan","parent":"eth0.7","macvlan_mode":"private"}"#);
    let Kind::Made(Wanted::Macvlan(lan)) = lan.unwrap().kind else { panic!("no macvlan") };
    assert_eq!((lan.parent.as_str(), lan.mode), ("eth0.7", MacvlanMode::Private));
    assert_eq!(lan.gateway[0].to_string(), "10.50.0.1");
    let lan = settings(r#"{"driver":"underlay","parent":"eth0","takeover":"true"}"#);
    let Kind::Made(Wanted::Underlay(lan)) = lan.unwrap().kind else { panic!("no underlay") };
    assert!(lan.takeover && lan.confirm_within.is_none());
    let pods = settings(
        r#"{"driver":"overlay","subnet":"10.48.0.0/12","no-spoof":"1",
            "peer":"10.51.0.0/24=192.0.2.2; 10.52.0.0/24=192.0.2.3"}"#,
    );
    let Kind::Made(Wanted::Overlay(pods)) = pods.unwrap().kind else { panic!("no overlay") };
    assert_eq!((pods.host_subnet.len(), pods.peer.len()), (1, 2));
    assert!(pods.on_host.flags.has(Flag::NoSpoof));

    // `--ipam-driver null`.
    let body = create_network(
        r#"{"driver":"overlay","store":"http://192.0.2.9:2379/","prefix":"netcord/pods/"}"#,
    );
    let body = body.replace("10.50.0.0/24", "0.0.0.0/0").replace("10.50.0.1/24", "0.0.0.0/0");
    let settings = Settings::read(&read(body.as_bytes()).unwrap()).unwrap();
    let Kind::Made(Wanted::Joining(pods)) = settings.kind else { panic!("does not join") };
    assert_eq!(pods.store.endpoints, ["http://192.0.2.9:2379"]);
    assert_eq!(pods.store.prefix, "/netcord/pods");
    assert!(settings.pools.is_empty());
}

#[test]
fn pools_and_addresses_are_read_as_docker_asks_for_them() {
    let pool: RequestPool = read(
        br#"{"AddressSpace":"netcord","Pool":"10.61.0.0/24","SubPool":"","Options":{"a":"b"},"V6":false}"#,
    )
    .unwrap();
    assert_eq!(pool.pool.unwrap().to_string(), "10.61.0.0/24");
    assert_eq!((pool.range, pool.options["a"].as_str(), pool.ipv6), (None, "b", false));
    let gateway = br#"{"PoolID":"10.61.0.0/24","Address":"","Options":{"RequestAddressType":"com.docker.network.gateway"}}"#;
    assert!(read::<RequestAddress>(gateway).unwrap().is_of_gateway());
    let other: RequestAddress =
        read(br#"{"PoolID":"fd61::/64","Address":"fd61::9","Options":null}"#).unwrap();
    assert_eq!(
        (other.address.unwrap().to_string(), other.is_of_gateway()),
        ("fd61::9".into(), false)
    );
    assert_eq!(whose(gateway), " 10.61.0.0/24");
    for id in ["", "x", "../../etc", "10.61.0.5/24", "10.61.0.0", "0.0.0.0/0", "10.61.0.0/24/x"] {
        let body = format!(r#"{{"PoolID":"{id}"}}"#);
        assert!(read::<OfPool>(body.as_bytes()).is_err(), "{id}");
    }
}

#[test]
fn an_endpoint_is_read_with_its_ports() {
    let body = create_endpoint();
    let request: CreateEndpoint = read(body.as_bytes()).unwrap();
    assert_eq!(request.interface.address.unwrap().to_string(), "10.50.0.50/24");
    assert_eq!(
        (request.interface.ipv6, request.interface.mac.as_str()),
        (None, "02:42:0a:32:00:32")
    );
    let ports = read::<Program>(body.as_bytes()).unwrap().options.ports;
    let binding = Some("192.0.2.1".parse().unwrap());
    let specs: Vec<_> = ports.iter().map(|port| port.spec(binding).unwrap().to_string()).collect();
    assert_eq!(specs, ["192.0.2.1:8080:80/tcp", "127.0.0.1::53/udp", "[::]:9000-9010:81/tcp"]);
    assert_eq!(whose(body.as_bytes()), " 17cd53bf6e59/d3393de0a6ab");
    assert_eq!(whose(create_network("{}").as_bytes()), " 17cd53bf6e59");
}

#[test]
fn what_go_leaves_out_may_be_null() {
    let body = format!(
        r#"{{"NetworkID":"{NETWORK}","EndpointID":"{ENDPOINT}","Interface":null,"Options":null,"SandboxKey":"/x"}}"#
    );
    assert_eq!(read::<CreateEndpoint>(body.as_bytes()).unwrap().interface.address, None);
    assert!(read::<Program>(body.as_bytes()).unwrap().options.ports.is_empty());
    assert_eq!(read::<Join>(body.as_bytes()).unwrap().sandbox, "/x");
    let body = format!(r#"{{"NetworkID":"{NETWORK}","Options":null,"IPv4Data":null}}"#);
    let settings = Settings::read(&read(body.as_bytes()).unwrap()).unwrap();
    let Kind::Made(Wanted::Bridge(bridge)) = settings.kind else { panic!("{settings:?}") };
    assert!(bridge.subnet.is_empty());
}

#[test]
fn a_record_is_read_with_and_without_the_process_that_wrote_it() {
    let by = r#","by":{"boot":"b","pid":1,"start":1}}"#;
    let body = create_network(r#"{"mtu":"1400"}"#);
    let with = format!("{}{by}", body.strip_suffix('}').unwrap());
    for text in [body, with] {
        let asked: Asked = serde_json::from_str(&text).unwrap();
        assert_eq!(asked.request.network_id.as_str(), NETWORK);
        assert!(!asked.may_be_unanswered(), "{text}: that process has ended");
        assert_eq!(asked.request.options.generic["mtu"], "1400");
    }
}

#[test]
fn an_id_names_no_other_file() {
    for id in ["", "../../etc/passwd", "0123456789aB", "abc", &"0".repeat(65), "0123456789ab/x"] {
        let body = format!(r#"{{"NetworkID":"{id}"}}"#);
        assert!(read::<OfNetwork>(body.as_bytes()).is_err(), "{id}");
    }
    let empty = read::<OfNetwork>(b"").unwrap_err().to_string();
    assert!(empty.contains("lost its connection"), "{empty}");
}

fn captured() -> Vec<Value> {
    let options = r#"{"network":"a","ports":"docker","mtu":"1400","bridge.name":"b"}"#;
    let bodies = [create_network(options), create_endpoint()];
    bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect()
}

/// Reads a body as each call does: a wrong one is an error, and nothing else.
fn read_as_any(body: &[u8]) {
    if let Ok(request) = read::<CreateNetwork>(body) {
        drop(Settings::read(&request));
    }
    drop(read::<CreateEndpoint>(body));
    drop(read::<Join>(body));
    drop(read::<OfEndpoint>(body));
    for port in read::<Program>(body).map(|request| request.options.ports).unwrap_or_default() {
        drop(port.spec(None));
    }
    drop(read::<RequestPool>(body));
    drop(read::<RequestAddress>(body));
    drop(read::<ReleaseAddress>(body));
    drop(read::<OfPool>(body));
    whose(body);
}

proptest! {
    #![proptest_config(hostile::cases())]

    #[test]
    fn hostile_bytes_are_an_error(body in hostile::bytes()) {
        read_as_any(&body);
    }

    #[test]
    fn a_captured_body_with_anything_in_one_place_is_read_or_refused(
        body in hostile::damaged(captured()),
    ) {
        read_as_any(&body);
    }
}
