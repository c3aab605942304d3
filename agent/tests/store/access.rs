use std::{net::TcpListener, path::PathBuf, process::Command, time::Duration};

use etcd_client::{Client, ConnectOptions, Permission};
use netcord::error::Kind;
use netcord_agent::store::{Access, Event, Store};

use super::support::{
    Etcd, PATIENCE, PLAIN, access, block_on, claim, config, connect, event, picture,
    put_for_a_second, refused, until, write,
};

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("access::tls_with_certificates_of_hosts", tls_with_certificates),
    ("access::users_and_their_passwords", users_and_their_passwords),
    ("access::an_endpoint_that_does_not_answer_is_named", an_endpoint_that_does_not_answer),
    ("access::a_file_that_is_missing_is_named", a_file_that_is_missing),
];

/// The time for an endpoint that cannot answer.
const SOON: Duration = Duration::from_secs(1);

/// The time for one that must answer, unless it closes the connection: that is tried again.
const LATER: Duration = Duration::from_secs(5);

async fn refusal(access: &Access, wait: Duration) -> (Kind, String) {
    refused(Store::connect(access, wait).await.map(drop))
}

fn an_endpoint_that_does_not_answer() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}", listener.local_addr().unwrap());
        let dead = "http://127.0.0.1:1";
        let (kind, message) = refusal(&access(&[dead], "/n"), SOON).await;
        assert_eq!(kind, Kind::Timeout);
        assert_eq!(
            message,
            format!("etcd does not answer at `{dead}`: Connection refused (os error 111)")
        );
        let (kind, message) = refusal(&access(&[dead, &silent], "/n"), SOON).await;
        assert_eq!(kind, Kind::Timeout);
        assert!(message.contains(dead) && message.contains(&silent), "{message}");
    });
}

fn a_file_that_is_missing() {
    block_on(async {
        let mut access = access(&["https://127.0.0.1:1"], "/n");
        access.ca = Some("/run/no-ca.pem".into());
        assert_eq!(
            refusal(&access, SOON).await,
            (Kind::NotFound, "no file `/run/no-ca.pem`".into())
        );
        access.ca = None;
        access.user = Some(("host".into(), "/run/no-password".into()));
        assert_eq!(refusal(&access, SOON).await.1, "no file `/run/no-password`");
    });
}

/// Two authorities that do not know each other, and what they have signed.
const SIGN: &str = r#"
mkdir -p /run/tls; cd /run/tls
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' >usage
for ca in ours theirs; do
    openssl req -x509 $new -keyout $ca-ca.key -out $ca-ca.pem -subj /CN=$ca -days 2
    for name in etcd host; do
        openssl req $new -keyout $ca-$name.key -out $ca-$name.csr -subj /CN=$name
        openssl x509 -req -in $ca-$name.csr -CA $ca-ca.pem -CAkey $ca-ca.key -CAcreateserial \
            -days 2 -extfile usage -out $ca-$name.pem
    done
done
"#;

fn tls_with_certificates() {
    let signed = Command::new("sh").args(["-euc", SIGN]).output().unwrap();
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let file = |name: &str| PathBuf::from("/run/tls").join(name);
    let identity =
        |ca: &str| Some((file(&format!("{ca}-host.pem")), file(&format!("{ca}-host.key"))));
    let etcd = Etcd::new(
        "https",
        &[
            "--cert-file=/run/tls/ours-etcd.pem",
            "--key-file=/run/tls/ours-etcd.key",
            "--trusted-ca-file=/run/tls/ours-ca.pem",
            "--client-cert-auth",
        ],
    );
    block_on(async move {
        let access = etcd.access("/tls");
        let good =
            Access { ca: Some(file("ours-ca.pem")), identity: identity("ours"), ..access.clone() };
        let store = connect(&good).await;
        store.create_config(&config(PLAIN)).await.unwrap();
        let held = store.acquire(claim(1)).await.unwrap();
        let mut follow = store.follow();
        assert_eq!(picture(&mut follow).await, [format!("{}=10.0.0.1", held.subnets())]);
        held.leave().await.unwrap();

        for (wrong, reason) in [
            (Access { ca: Some(file("theirs-ca.pem")), ..good.clone() }, "unknownissuer"),
            (Access { ca: None, ..good.clone() }, "unknownissuer"),
            (Access { identity: None, ..good.clone() }, "certificate"),
            (Access { identity: identity("theirs"), ..good.clone() }, "certificate"),
        ] {
            let (kind, message) = refusal(&wrong, LATER).await;
            assert_eq!(kind, Kind::Permission, "{message}");
            let is_named = message.contains(&etcd.endpoint);
            // etcd says "BadCertificate", unless it closes the connection before that is read.
            assert!(is_named && message.to_lowercase().contains(reason), "{message}");
        }
        let plain = etcd.endpoint.replace("https", "http");
        let (kind, message) = refusal(&super::support::access(&[&plain], "/tls"), SOON).await;
        assert_eq!(kind, Kind::Timeout);
        assert!(message.contains(&plain), "{message}");
        // The other way round: etcd does not use TLS.
        let tls = Etcd::shared().endpoint.replace("http", "https");
        let (kind, message) =
            refusal(&Access { endpoints: vec![tls.clone()], ..good }, LATER).await;
        assert_eq!(kind, Kind::Permission);
        assert!(message.contains(&tls), "{message}");
    });
}

fn users_and_their_passwords() {
    let mut etcd = Etcd::new("http", &["--bcrypt-cost=4", "--auth-token-ttl=1"]);
    block_on(async move {
        connect(&etcd.access("/users")).await;
        let mut root = etcd.client().await;
        for (user, password) in [("root", "of all"), ("host", "of one"), ("guest", "of none")] {
            root.user_add(user, password, None).await.unwrap();
        }
        root.role_add("root").await.unwrap();
        root.user_grant_role("root", "root").await.unwrap();
        root.role_add("network").await.unwrap();
        let all = Permission::read_write("/users/").with_prefix();
        root.role_grant_permission("network", all).await.unwrap();
        root.user_grant_role("host", "network").await.unwrap();
        let access = etcd.access("/users");
        let user = |name: &str, password: &str| {
            let file = write(&format!("password-{}", password.replace(' ', "-")), password);
            Access { user: Some((name.into(), file)), ..access.clone() }
        };
        // Before etcd asks for users, they may be given.
        connect(&user("host", "anything")).await;
        root.auth_enable().await.unwrap();

        let store = connect(&user("host", "of one\n")).await;
        store.create_config(&config(PLAIN)).await.unwrap();
        let held = store.acquire(claim(1)).await.unwrap();
        let mut follow = store.follow();
        assert_eq!(picture(&mut follow).await, [format!("{}=10.0.0.1", held.subnets())]);

        // etcd forgets who has logged in, and asks again.
        etcd.kill();
        event(&mut follow, |event| matches!(event, Event::Away(_))).await;
        etcd.start_again();
        event(&mut follow, |event| *event == Event::Back).await;
        // A login that is not used ends after a second.
        let options =
            ConnectOptions::new().with_user("root", "of all").with_auto_token_refresh(true);
        let mut root = Client::connect([&etcd.endpoint], Some(options)).await.unwrap();
        put_for_a_second(&mut root, "/other").await;
        until(&mut root, "/other", false).await;
        let second = store.acquire(claim(2)).await.unwrap();
        event(&mut follow, |event| matches!(event, Event::Peer(_))).await;
        second.leave().await.unwrap();
        held.leave().await.unwrap();

        for (wrong, reason) in [
            (user("host", "of two"), "authentication failed, invalid user ID or password"),
            (user("guest", "of none"), "permission denied"),
            (access.clone(), "user name is empty"),
            (Access { prefix: "/others".into(), ..user("host", "of one") }, "permission denied"),
        ] {
            let (kind, message) = refusal(&wrong, PATIENCE).await;
            assert_eq!(kind, Kind::Permission, "{message}");
            let expected = format!("etcd refuses this host at `{}`: {reason}", etcd.endpoint);
            assert_eq!(message, expected);
        }
    });
}
