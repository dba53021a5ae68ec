//! Three real nats-servers that are one JetStream cluster.

use super::nats::{NatsServer, Version, free_port};

/// How many nodes there are: the least that survives the loss of one.
pub const NODES: usize = 3;

/// A running cluster; its nodes are killed when dropped.
pub struct Cluster {
    pub nodes: [NatsServer; NODES],
}

impl Cluster {
    /// Starts the nodes `n0`, `n1` and `n2`. Whether they have found each other shows when the cluster
    /// creates a stream.
    pub fn start(version: Version) -> Self {
        let routes: [u16; NODES] = std::array::from_fn(|_| free_port());
        let urls = routes.map(|port| format!("\"nats-route://127.0.0.1:{port}\""));
        let urls = urls.join(", ");
        let nodes = std::array::from_fn(|at| {
            let name = Self::name(at);
            let port = routes[at];
            let config = format!(
                "server_name: {name}\n\
                 cluster {{ name: odin, listen: \"127.0.0.1:{port}\", routes: [{urls}] }}"
            );
            NatsServer::configured_version(version, &config)
        });
        Self { nodes }
    }

    /// The name of a node.
    pub fn name(at: usize) -> String {
        format!("n{at}")
    }

    /// Which node has this name.
    pub fn position(name: &str) -> usize {
        let at = (0..NODES).find(|at| Self::name(*at) == name);
        at.unwrap_or_else(|| panic!("{name} is no node"))
    }

    /// The addresses of all nodes, with commas between them.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(NatsServer::url).collect();
        urls.join(",")
    }
}
