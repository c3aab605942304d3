//! Units for systemd.

#![expect(clippy::disallowed_types, reason = "tests run programs")]

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use super::Lab;

/// Checks the unit of a program with `systemd-analyze`.
#[track_caller]
pub(crate) fn verify(unit: &str, program: &Path) {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(unit);
    let text = fs::read_to_string(text).unwrap();
    let name = program.file_name().unwrap().to_str().unwrap();
    let here = text.replace(&format!("/usr/bin/{name}"), program.to_str().unwrap());
    assert_ne!(text, here);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(unit);
    fs::write(&file, here).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
}

/// Starts a service, and waits until it reports that it is ready.
#[track_caller]
pub(crate) fn start(lab: &Lab, command: &str) -> Child {
    let ready = UnixDatagram::bind(lab.path("/run/notify")).unwrap();
    ready.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let service = lab.start(&format!("NOTIFY_SOCKET=/run/notify {command}"));
    let mut message = [0; 64];
    let length = ready.recv(&mut message).unwrap();
    assert_eq!(String::from_utf8_lossy(&message[..length]).trim_end(), "READY=1");
    service
}
