//! Why there is no lab, and what to do about it.

use std::io;

/// Why the kernel driver does not work here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// An ordinary user may not make user namespaces, or gets no rights in them.
    #[error("user namespaces are forbidden: {0}")]
    UserNamespaces(#[source] io::Error),
    /// The kernel refuses another kind of namespace.
    #[error("the kernel refuses to {what}: {source}")]
    Namespace {
        /// What was asked of it.
        what: &'static str,
        /// Why it refused.
        source: io::Error,
    },
    /// A file system of the lab's own cannot be mounted.
    #[error("{what} cannot be mounted on {target}: {source}")]
    Mount {
        /// What.
        what: &'static str,
        /// Where.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// Raw packets can be neither read nor sent.
    #[error("AF_PACKET sockets are refused: {0}")]
    PacketSocket(#[source] io::Error),
    /// The program `ip` is not installed.
    #[error("the program `ip` is not installed")]
    IpMissing,
    /// The program `ip` did not do what it was told.
    #[error("`ip` fails in {place}: {said}")]
    Ip {
        /// The namespace that it worked in.
        place: String,
        /// What it said.
        said: String,
    },
    /// The lab was started outside of its namespaces.
    #[error("the lab was started outside of its own namespaces")]
    Outside,
    /// A host that cannot be made.
    #[error("host {name}: {problem}")]
    Host {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A host was asked for that the lab does not have, or has no longer.
    #[error("the lab has no host {0:?}")]
    NoHost(String),
    /// Anything else that the operating system refuses.
    #[error("the lab cannot {what}: {source}")]
    System {
        /// What was refused.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl LabError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::UserNamespaces(_) => {
                "run as root; or allow them: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), \
                 kernel.unprivileged_userns_clone=1 (older Debian), user.max_user_namespaces=10000; in a container: \
                 --privileged, or --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
            }
            Self::Namespace { .. } => {
                "use a kernel with network, pid and mount namespaces; in a container: --privileged, or --security-opt \
                 seccomp=unconfined"
            }
            Self::Mount { .. } => "in a container: --privileged, or --security-opt systempaths=unconfined",
            Self::PacketSocket(_) => "use a kernel with CONFIG_PACKET; in a container: --cap-add NET_RAW",
            Self::IpMissing => "apt-get install iproute2 (Debian, Ubuntu), or dnf install iproute (Fedora)",
            Self::Ip { .. } => "use a kernel with veth devices (CONFIG_VETH), and iproute2 4.16 or newer",
            Self::Outside => "start it through `harness run`, or by hand as `harness lab -- PROGRAM`",
            Self::Host { .. } | Self::NoHost(_) => "correct the network of the scenario",
            Self::System { .. } => "run `harness doctor`",
        }
    }

    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
