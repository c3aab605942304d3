//! What `netcord-agent` is made of: flannel's formats, the store in etcd where the hosts of an
//! overlay network find each other, and the relay of the UDP backend.

pub mod flannel;
pub mod relay;
pub mod store;
