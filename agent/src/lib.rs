//! What `netcord-agent` is made of: flannel's formats, and the store in etcd where the hosts of an
//! overlay network find each other.

pub mod flannel;
pub mod store;
