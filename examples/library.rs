//! Wires a namespace from a Rust program, without the command line: a network, an endpoint, and a
//! published port. The namespace `web` must be there (`ip netns add web`).

#![expect(clippy::print_stdout, reason = "it prints its result")]

use netcord::{Attach, Bridge, Options, Publish, Session, Silent};

// A verb moves its thread between network namespaces, so there is one thread.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut session = Session::open(Options::default(), &Silent)?;
    netcord::bridge(&mut session, &Bridge::new("lab0".parse()?)).await?;
    let request = Attach::new("lab0".parse()?, vec!["web".parse()?]);
    let attached = netcord::attach(&mut session, &request).await?;
    let request = Publish { target: "web".parse()?, ports: vec!["8080:80".parse()?], owner: None };
    netcord::publish(&mut session, &request).await?;
    for endpoint in attached.iter().flat_map(|done| &done.now.endpoints) {
        println!("{}", endpoint.addresses[0]);
    }
    Ok(())
}
