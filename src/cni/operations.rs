//! The operations of the specification, but for VERSION.

use super::{
    config::{self, Config},
    delegate::Delegate,
    environment::{Attachment, Operation},
    failure::{Code, Failure},
    log::Log,
    request::{self, Wanted},
    result::CniResult,
    version::Version,
};
use crate::{
    model::{Endpoint, Interface, LinkName, Network, Owner, Target},
    ops::{
        Events, Options, Session,
        attach::Attach,
        owned::{self, Held, Readiness},
        publish::{Publish, publish},
    },
};

/// A call, as it was read.
struct Call<'a> {
    operation: Operation,
    version: Version,
    config: Config,
    delegate: Option<Delegate<'a>>,
    log: &'a Log,
}

/// Carries an operation out; returns its output.
pub(super) fn run(operation: Operation, input: &[u8], log: &Log) -> Result<String, Failure> {
    let config::Read { version, config, notes } = config::read(input)?;
    log.call(operation, &config.name, "", "");
    for note in notes {
        log.note(&note);
    }
    let delegate = config.delegate().map(|ipam| ipam.plugin.clone());
    let delegate = delegate.as_deref().map(|plugin| Delegate { plugin, input });
    let call = Call { operation, version, config, delegate, log };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Code::Io, format!("cannot wait: {e}")))?;
    runtime.block_on(async {
        match operation {
            Operation::Add => call.add().await,
            Operation::Del => call.del().await,
            Operation::Check => call.check().await,
            Operation::Gc => call.gc().await,
            Operation::Status | Operation::Version => call.status().await,
        }
    })
}

impl Call<'_> {
    fn session(&self) -> Result<Session<'_>, Failure> {
        let firewall = request::firewall(&self.config)?;
        Ok(Session::open(Options { firewall, ..Options::default() }, self.log)?)
    }

    fn attachment(&self) -> Result<Attachment, Failure> {
        let attachment = Attachment::read(self.operation)?;
        let Attachment { container, ifname, .. } = &attachment;
        self.log.call(self.operation, &self.config.name, container, ifname.as_str());
        Ok(attachment)
    }

    fn owner(&self, attachment: &Attachment) -> Owner {
        request::owner(&self.config, attachment)
    }

    /// Attaches a container. The same again has the same result.
    async fn add(&self) -> Result<String, Failure> {
        self.config.check()?;
        let attachment = self.attachment()?;
        let mut session = self.session()?;
        if self.config.runtime.aliases.is_some() {
            self.log.note("aliases are names, which netcord does not serve: they are ignored");
        }
        let before = self.config.previous.clone().unwrap_or_default();
        let result = if before.has(attachment.ifname.as_str()) {
            self.publish(&mut session, &attachment, before).await
        } else {
            self.attach(&mut session, &attachment, before).await
        };
        session.close();
        let mut result = result?;
        if result.dns.is_empty() {
            result.dns = self.config.dns()?;
        }
        Ok(result.json(self.version))
    }

    /// Makes the link of a container.
    async fn attach(
        &self,
        session: &mut Session<'_>,
        attachment: &Attachment,
        before: CniResult,
    ) -> Result<CniResult, Failure> {
        let owner = self.owner(attachment);
        let held = Held { owner: &owner, ifname: &attachment.ifname };
        // Another plugin would assign a second address to a container that is attached already.
        let known = match self.delegate {
            Some(_) => owned::find(session, held).await?,
            None => None,
        };
        let assigned = match (&self.delegate, &known) {
            (Some(delegate), None) => Some(delegate.add()?),
            _ => None,
        };
        let (network, endpoint) = match known {
            Some(known) => known,
            None => match self.made(session, attachment, assigned.as_ref()).await {
                Ok(made) => made,
                Err(failure) => {
                    self.give_back(assigned.as_ref());
                    return Err(failure);
                }
            },
        };
        let mut result = before;
        let wanted = Wanted::read(&self.config, assigned.as_ref())?;
        result.add(&network, &endpoint, &sandbox(attachment), wanted.routers());
        if let Some(assigned) = assigned.filter(|_| result.dns.is_empty()) {
            result.dns = assigned.dns;
        }
        Ok(result)
    }

    async fn made(
        &self,
        session: &mut Session<'_>,
        attachment: &Attachment,
        assigned: Option<&CniResult>,
    ) -> Result<(Network, Endpoint), Failure> {
        if !self.config.makes_network()
            && let Readiness::Unavailable(why) = self.readiness(session).await?
        {
            return Err(Failure::new(Code::TryAgain, why));
        }
        let wanted = Wanted::read(&self.config, assigned)?;
        let network = owned::network(session, &wanted.bridge, wanted.said).await?;
        let wiring = wanted.wiring(&self.config, attachment, assigned)?;
        let name = network.name.clone().into();
        let mut request = Attach::new(name, vec![target(attachment)?]);
        request.wiring = wiring;
        let endpoint = owned::hold(session, &request).await?.now;
        Ok((network, endpoint))
    }

    /// Has the addresses of an ADD that failed taken back.
    fn give_back(&self, assigned: Option<&CniResult>) {
        let Some(delegate) = self.delegate.as_ref().filter(|_| assigned.is_some()) else { return };
        if let Err(failure) = delegate.call(Operation::Del) {
            self.log.warn(&format!("addresses could not be given back: {failure}"));
        }
    }

    /// Publishes ports of a container that a plugin before this one attached.
    async fn publish(
        &self,
        session: &mut Session<'_>,
        attachment: &Attachment,
        before: CniResult,
    ) -> Result<CniResult, Failure> {
        let ports = request::ports(&self.config.runtime.ports)?;
        if !ports.is_empty() {
            let owner = Some(self.owner(attachment));
            publish(session, &Publish { target: target(attachment)?, ports, owner }).await?;
        }
        Ok(before)
    }

    /// Detaches a container. Nothing of it has to be there.
    async fn del(&self) -> Result<String, Failure> {
        let attachment = self.attachment()?;
        let owner = self.owner(&attachment);
        let mut session = self.session()?;
        let held = Held { owner: &owner, ifname: &attachment.ifname };
        let released = owned::release(&mut session, held).await;
        session.close();
        let given_back = self.delegate.as_ref().map(|delegate| delegate.call(Operation::Del));
        released?;
        given_back.transpose()?;
        Ok(String::new())
    }

    /// Compares a container's attachment with the result of its ADD.
    async fn check(&self) -> Result<String, Failure> {
        let attachment = self.attachment()?;
        let owner = self.owner(&attachment);
        let mut session = self.session()?;
        if let Some(delegate) = &self.delegate {
            delegate.call(Operation::Check)?;
        }
        let ifname = attachment.ifname.as_str();
        let held = Held { owner: &owner, ifname: &attachment.ifname };
        let Some((network, endpoint)) = owned::find(&session, held).await? else {
            let message = format!("container `{}` has no link `{ifname}`", attachment.container);
            return Err(Failure::new(Code::UnknownContainer, message));
        };
        let mut wrong = owned::missing(&mut session, &network, &endpoint).await?;
        if let Some(previous) = &self.config.previous {
            let lost = previous.addresses_of(ifname).filter(|a| !endpoint.addresses.contains(a));
            wrong.extend(lost.map(|address| format!("ip addr add {address} dev {ifname}")));
        }
        session.close();
        if wrong.is_empty() {
            return Ok(String::new());
        }
        let message =
            format!("`{ifname}` of container `{}` is not as ADD made it", attachment.container);
        Err(Failure::new(Code::Other(101), message).details(wrong.join("\n")))
    }

    /// Detaches what no runtime knows any more.
    async fn gc(&self) -> Result<String, Failure> {
        // A runtime that sends no list is not one that has no containers.
        let Some(valid) = &self.config.valid_attachments else {
            let message = "GC without `cni.dev/valid-attachments`";
            return Err(Failure::new(Code::Config, message));
        };
        let owner = |id: &str| Owner {
            interface: Interface::Cni,
            network: self.config.name.clone(),
            id: id.to_owned(),
            name: None,
        };
        let valid: Vec<(Owner, LinkName)> = valid
            .iter()
            .filter_map(|a| Some((owner(&a.container), a.ifname.parse().ok()?)))
            .collect();
        let held: Vec<_> = valid.iter().map(|(owner, ifname)| Held { owner, ifname }).collect();
        let mut session = self.session()?;
        let network = &self.config.name;
        let released = owned::release_others(&mut session, Interface::Cni, network, &held).await;
        session.close();
        let forwarded = self.delegate.as_ref().map(|delegate| delegate.call(Operation::Gc));
        let count = released?;
        forwarded.transpose()?;
        if count > 0 {
            self.log.note(&format!("GC removed {count} attachments"));
        }
        Ok(String::new())
    }

    /// Returns whether containers can be attached; a network that is missing can be made, or is
    /// unavailable.
    async fn readiness(&self, session: &Session<'_>) -> Result<Readiness, Failure> {
        let name = self.config.network_name();
        Ok(match owned::readiness(session, &name).await? {
            Readiness::Missing if !self.config.makes_network() => {
                Readiness::Unavailable(format!("this host has no network `{name}` yet"))
            }
            readiness => readiness,
        })
    }

    /// Says whether containers can be attached. Nothing is locked, and no endpoint is looked at.
    async fn status(&self) -> Result<String, Failure> {
        self.config.check()?;
        let session = self.session()?;
        let readiness = self.readiness(&session).await;
        session.close();
        match readiness? {
            Readiness::Unavailable(why) => return Err(Failure::new(Code::Unavailable, why)),
            Readiness::Limited(why) => return Err(Failure::new(Code::Limited, why)),
            Readiness::Ready | Readiness::Missing => {}
        }
        if let Some(delegate) = &self.delegate {
            delegate.call(Operation::Status)?;
        }
        Ok(String::new())
    }
}

fn target(attachment: &Attachment) -> Result<Target, Failure> {
    let netns = attachment.netns.clone();
    netns.map(Target::Path).ok_or_else(|| Failure::new(Code::Environment, "CNI_NETNS is not set"))
}

fn sandbox(attachment: &Attachment) -> String {
    attachment.netns.as_deref().unwrap_or("".as_ref()).display().to_string()
}
