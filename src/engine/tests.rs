//! Tests with a small server, which may send wrong answers, or none.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process, thread,
};

use super::*;
use crate::error::Kind;

const PATIENCE: Duration = Duration::from_secs(5);
const ID: &str = "4423354b990f70622b47e40d6d585f9bffe5212ce1c54ae619813abe078551ae";

/// An empty directory for one test, removed with this value.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = env::temp_dir().join(format!("netcord-engine-{test}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("sock")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Serves one connection with these bytes, and runs `ask` against it; returns the result, and the
/// first line of the request.
fn against<T>(
    test: &str,
    bytes: impl Into<Vec<u8>>,
    ask: impl AsyncFnOnce(&[PathBuf]) -> T,
) -> (T, String) {
    let directory = Directory::new(test);
    let listener = UnixListener::bind(directory.socket()).unwrap();
    let bytes = bytes.into();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream);
        // The client may have closed the connection because of the size.
        stream.write_all(&bytes).ok();
        request.lines().next().unwrap_or_default().to_owned()
    });
    let outcome = run(ask(&[directory.socket()]));
    (outcome, server.join().unwrap())
}

/// A client would refuse a server that answers before the request.
fn read_request(stream: &mut UnixStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        request.push(byte[0]);
    }
    String::from_utf8(request).unwrap()
}

fn ok(body: &str) -> String {
    with_status("200 OK", body)
}

fn with_status(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(body: &str) -> String {
    let (a, b) = body.split_at(body.len() / 2);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
        a.len(),
        b.len()
    )
}

fn web(running: bool, pid: i64, mode: &str) -> String {
    format!(
        r#"{{"Id":"{ID}","Name":"/web","State":{{"Running":{running},"Pid":{pid}}},
            "HostConfig":{{"NetworkMode":"{mode}","Memory":0}},"Mounts":[]}}"#
    )
}

fn ask(test: &str, bytes: impl Into<Vec<u8>>) -> Answer {
    against(test, bytes, async |sockets| find_at(Engine::Docker, sockets, "web", PATIENCE).await).0
}

fn found(test: &str, bytes: impl Into<Vec<u8>>) -> Container {
    match ask(test, bytes) {
        Answer::Found(container) => container,
        other => panic!("{test}: {other:?}"),
    }
}

fn silent(test: &str, bytes: impl Into<Vec<u8>>) -> anyhow::Error {
    match ask(test, bytes) {
        Answer::Silent(error) => error,
        other => panic!("{test}: {other:?}"),
    }
}

#[test]
fn a_running_container_is_found_by_one_plain_request() {
    let (answer, request) = against("found", ok(&web(true, 8065, "none")), async |sockets| {
        find_at(Engine::Docker, sockets, "web", PATIENCE).await
    });
    let Answer::Found(container) = answer else { panic!("{answer:?}") };
    let expected = Container {
        engine: Engine::Docker,
        id: ID.into(),
        name: "web".into(),
        pid: Some(8065),
        network: NetworkMode::Own,
        auto_remove: false,
    };
    assert_eq!((container, request.as_str()), (expected, "GET /containers/web/json HTTP/1.1"));
}

#[test]
fn every_framing_of_a_body_is_understood() {
    let body = web(true, 8065, "none");
    assert_eq!(found("chunked", chunked(&body)).pid, Some(8065));
    assert_eq!(found("to-eof", format!("HTTP/1.0 200 OK\r\n\r\n{body}")).pid, Some(8065));
}

#[test]
fn the_mode_tells_whose_network_it_is() {
    for (mode, network) in [
        ("default", NetworkMode::Own),
        ("bridge", NetworkMode::Own),
        ("slirp4netns", NetworkMode::Own),
        ("ns:/run/netns/x", NetworkMode::Own),
        ("host", NetworkMode::Host),
        (&format!("container:{ID}"), NetworkMode::Of(ID.into())),
        ("container:db", NetworkMode::Of("db".into())),
    ] {
        assert_eq!(found("mode", ok(&web(true, 1, mode))).network, network, "{mode}");
    }
}

#[test]
fn who_does_not_run_has_no_pid() {
    assert_eq!(found("created", ok(&web(false, 0, "none"))).pid, None);
    assert_eq!(found("restarting", ok(&web(true, 0, "none"))).pid, None);
    assert_eq!(found("stopped", ok(&web(false, 8065, "none"))).pid, None);
}

#[test]
fn an_unknown_name_is_not_an_error() {
    for body in [
        r#"{"message":"No such container: web"}"#,
        r#"{"cause":"no such container","message":"no container with name or ID \"web\" found: no such container","response":404}"#,
    ] {
        let answer = ask("unknown", with_status("404 Not Found", body));
        assert!(matches!(answer, Answer::NotFound), "{answer:?}");
    }
}

/// These are the answers of docker 20.10, newer dockers and podman 4.3.
#[test]
fn an_ambiguous_beginning_of_an_id_is_a_conflict() {
    for (status, body) in [
        (
            "500 Internal Server Error",
            r#"{"message":"Multiple IDs found with provided prefix: 4"}"#,
        ),
        ("400 Bad Request", r#"{"message":"multiple IDs found with provided prefix: 4"}"#),
        (
            "404 Not Found",
            r#"{"cause":"container already exists","message":"more than one result for container ID 4: container already exists","response":404}"#,
        ),
    ] {
        let error = silent("ambiguous", with_status(status, body));
        assert_eq!(Kind::of(&error), Kind::Conflict, "{error}");
        assert!(error.to_string().contains("prefix: 4") || error.to_string().contains("ID 4"));
    }
}

#[test]
fn a_refusal_keeps_the_engines_words_but_not_its_escapes() {
    let body = r#"{"message":"denied by\u001b[31m plugin"}"#;
    let error = silent("forbidden", with_status("403 Forbidden", body));
    assert_eq!(error.to_string(), "docker refuses (HTTP status 403): denied by [31m plugin");
    assert_eq!(Kind::of(&error), Kind::Permission);

    let body = format!(r#"{{"message":"{}"}}"#, "x".repeat(100_000));
    let error = silent("verbose", with_status("500 Internal Server Error", &body));
    assert!(error.to_string().len() < 300);
    assert_eq!(Kind::of(&error), Kind::Failed);
}

#[test]
fn nonsense_is_told_and_never_believed() {
    let valid = web(true, 8065, "none");
    let cases: &[(&str, String)] = &[
        ("nothing", String::new()),
        ("no-http", "SSH-2.0-OpenSSH_9.2\r\n".into()),
        ("no-json", ok("<html>")),
        ("no-fields", ok("{}")),
        ("null", ok("null")),
        ("array", ok("[]")),
        ("no-body", "HTTP/1.1 204 No Content\r\n\r\n".into()),
        ("no-mode", ok(&valid.replace("NetworkMode", "Mode"))),
        ("wrong-type", ok(&valid.replace("8065", "\"8065\""))),
        ("huge-pid", ok(&web(true, 99_999_999_999, "none"))),
        ("pid-beyond-the-kernel", ok(&web(true, 4_194_305, "none"))),
        ("negative-pid", ok(&web(true, -1, "none"))),
        ("fraction", ok(&valid.replace("8065", "1.5"))),
        ("name-with-escape", ok(&valid.replace("/web", "\\u001b[31m"))),
        ("path-as-id", ok(&valid.replace(ID, "../../etc"))),
        ("no-name", ok(&valid.replace("/web", ""))),
        ("of-nobody", ok(&web(true, 1, "container:"))),
        ("deep", ok(&"[".repeat(100_000))),
        ("truncated", ok(&valid)[..150].into()),
        ("truncated-chunks", chunked(&valid)[..120].into()),
        ("a-strangers-404", with_status("404 Not Found", "Not Found")),
        ("moved", "HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".into()),
    ];
    for (test, bytes) in cases {
        let error = silent(test, bytes.as_str());
        let text = format!("{error:#}");
        assert!(text.contains("docker"), "{test}: {text}");
        assert!(!text.contains(char::is_control), "{test}: {text:?}");
        assert_eq!(Kind::of(&error), Kind::Failed, "{test}: {text}");
    }
    silent("not-utf8", b"HTTP/1.1 200 OK\r\n\r\n{\"Id\":\"\xff\"}");
}

#[test]
fn an_endless_body_is_cut() {
    let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    bytes.resize(17 << 20, b' ');
    let error = silent("oversized", bytes);
    assert!(format!("{error:#}").ends_with("longer than 16 MiB"), "{error:#}");
}

#[test]
fn patience_ends() {
    let directory = Directory::new("hang");
    // Connections stay in the backlog: the server does not accept them.
    let _listener = UnixListener::bind(directory.socket()).unwrap();
    let patience = Duration::from_millis(50);
    let answer = run(find_at(Engine::Podman, &[directory.socket()], "web", patience));
    let Answer::Silent(error) = answer else { panic!("{answer:?}") };
    assert_eq!(Kind::of(&error), Kind::Timeout);
    assert_eq!(error.to_string(), "podman did not answer within 50ms");
}

#[test]
fn a_body_that_stalls_ends_too() {
    let directory = Directory::new("stall");
    let listener = UnixListener::bind(directory.socket()).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{").unwrap();
        // Until the client has closed the connection.
        stream.read_to_end(&mut Vec::new()).ok();
    });
    let patience = Duration::from_millis(50);
    let answer = run(find_at(Engine::Docker, &[directory.socket()], "web", patience));
    let Answer::Silent(error) = answer else { panic!("{answer:?}") };
    assert_eq!(Kind::of(&error), Kind::Timeout);
    server.join().unwrap();
}

#[test]
fn nobody_there_is_told_with_the_sockets() {
    let directory = Directory::new("missing");
    let stale = directory.0.join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let sockets = [directory.socket(), stale];
    let Answer::Silent(error) = run(find_at(Engine::Docker, &sockets, "web", PATIENCE)) else {
        panic!("an answer from nobody");
    };
    assert_eq!(Kind::of(&error), Kind::Missing);
    for socket in sockets {
        assert!(error.to_string().contains(&socket.display().to_string()), "{error}");
    }
}

#[test]
fn the_users_engine_answers_when_roots_is_absent() {
    let ((), _) = against("second", ok(&web(true, 7, "none")), async |sockets| {
        let both = [PathBuf::from("/nonexistent/sock"), sockets[0].clone()];
        let answer = find_at(Engine::Podman, &both, "web", PATIENCE).await;
        assert!(matches!(answer, Answer::Found(Container { pid: Some(7), .. })), "{answer:?}");
    });
}

/// Usually, a directory that is not accessible to the caller. Here it is a path below a file, since
/// the caller may be root.
#[test]
fn a_socket_out_of_reach_hides_no_other_and_keeps_its_error() {
    let closed = PathBuf::from("/dev/null/sock");
    let ((), _) = against("third", ok(&web(true, 7, "none")), async |sockets| {
        let both = [closed.clone(), sockets[0].clone()];
        let answer = find_at(Engine::Podman, &both, "web", PATIENCE).await;
        assert!(matches!(answer, Answer::Found(_)), "{answer:?}");
    });
    let sockets = [closed, PathBuf::from("/nonexistent/sock")];
    let Answer::Silent(error) = run(find_at(Engine::Podman, &sockets, "web", PATIENCE)) else {
        panic!("an answer from nobody");
    };
    assert!(error.to_string().starts_with("cannot ask podman at /dev/null/sock"), "{error}");
    assert!(error.root_cause().is::<std::io::Error>(), "{error:?}");
}

#[test]
fn what_cannot_be_a_name_is_never_sent() {
    for bad in
        ["", "-x", ".", "..", "a/b", "a b", "a?b", "a%2f", "a\r\nX: y", "é", &"a".repeat(256)]
    {
        let sockets = [PathBuf::from("/nonexistent/sock")];
        let answer = run(find_at(Engine::Docker, &sockets, bad, PATIENCE));
        assert!(matches!(answer, Answer::NotFound), "{bad:?}: {answer:?}");
    }
}

#[test]
fn one_container_that_both_engines_claim_is_podmans() {
    let container = |engine, id: &str| {
        Answer::Found(Container {
            engine,
            id: id.into(),
            name: "web".into(),
            pid: None,
            network: NetworkMode::Own,
            auto_remove: false,
        })
    };
    let engines = |answers: Vec<(Engine, Answer)>| -> Vec<Engine> {
        answers.into_iter().map(|(engine, _)| engine).collect()
    };
    let twice = both(container(Engine::Docker, "a"), container(Engine::Podman, "a"));
    assert_eq!(engines(twice), [Engine::Podman]);
    let two = both(container(Engine::Docker, "a"), container(Engine::Podman, "b"));
    assert_eq!(engines(two), [Engine::Docker, Engine::Podman]);
    let none = both(Answer::NotFound, Answer::NotFound);
    assert_eq!(engines(none), [Engine::Docker, Engine::Podman]);
}

/// With the fields of real engines: docker's empty strings, podman's `null`, docker's links.
#[test]
fn the_list_has_names_and_addresses() {
    let body = r#"[
        {"Names":["/web/alias","/web"],"NetworkSettings":{"Networks":{
            "bridge":{"IPAddress":"172.17.0.2","GlobalIPv6Address":"fd00::2","IPPrefixLen":16},
            "lab":{"IPAddress":"10.9.0.2","GlobalIPv6Address":""}}}},
        {"Names":["/none"],"NetworkSettings":{"Networks":{"none":{"IPAddress":""}}}},
        {"Names":["/pod"],"NetworkSettings":{"Networks":null}},
        {"Names":["/bare"],"NetworkSettings":null},
        {"Names":["/odd"],"NetworkSettings":{"Networks":{"x":{"IPAddress":"nonsense"}}}},
        {"Names":["/\u001b[31m"]},
        {"Names":[]}]"#;
    let (running, request) = against("list", ok(body), async |sockets| {
        running_at(Engine::Docker, sockets, PATIENCE).await.unwrap()
    });
    assert!(request.starts_with("GET /containers/json?filters="), "{request}");
    let names: Vec<_> = running.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["web", "none", "pod", "bare", "odd"]);
    let addresses: Vec<_> =
        running.iter().flat_map(|r| &r.addresses).map(IpAddr::to_string).collect();
    assert_eq!(addresses, ["172.17.0.2", "fd00::2", "10.9.0.2"]);
}

#[test]
fn a_list_that_makes_no_sense_is_an_error() {
    for body in ["{}", "[{}]", "[1]", "", r#"[{"Names":"web"}]"#] {
        let (listed, _) = against("bad-list", ok(body), async |sockets| {
            running_at(Engine::Docker, sockets, PATIENCE).await
        });
        assert!(listed.is_err(), "{body}");
    }
}
