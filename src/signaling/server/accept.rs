//! From a TCP connection to HTTP: admission, TLS, deadlines.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::http::{self, App};
use super::hub::Hub;
use super::metrics::Metrics;

/// Accepts connections until `stop`.
pub(super) async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    app: Arc<App>,
    stop: CancellationToken,
) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((tcp, _)) => {
                Metrics::count(&app.hub.metrics.accepted);
                let Some(admission) = Admission::to(&app.hub) else {
                    Metrics::count(&app.hub.metrics.refused);
                    continue;
                };
                let serve = serve(tcp, acceptor.clone(), router.clone(), app.hub.clone(), admission, stop.clone());
                app.tasks.spawn(app.kill.clone().run_until_cancelled_owned(serve));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                // Mostly no file descriptors left: trying again at once would only burn CPU.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Counts a connection as open for as long as it, or a clone, lives.
#[derive(Clone)]
pub(super) struct Admission {
    _seat: Arc<Seat>,
}

struct Seat(Arc<Hub>);

impl Admission {
    /// `None` if there are as many connections as there may be.
    fn to(hub: &Arc<Hub>) -> Option<Self> {
        let one_more = |open: usize| (open < hub.limits.connections).then_some(open + 1);
        hub.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self { _seat: Arc::new(Seat(hub.clone())) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    hub: Arc<Hub>,
    admission: Admission,
    stop: CancellationToken,
) {
    let limits = &hub.limits;
    let _ = tcp.set_nodelay(true);
    let handshake = tokio::time::timeout(limits.tls_timeout, acceptor.accept(tcp));
    let Some(Ok(Ok(tls))) = stop.run_until_cancelled(handshake).await else {
        Metrics::count(&hub.metrics.tls_failures);
        return;
    };
    let router = TowerToHyperService::new(router);
    let patience = Arc::new(Patience::new(limits.http_timeout));
    let requests = patience.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(admission.clone());
        let is_foreign = http::is_foreign(request.uri().path());
        // Who polls keeps one connection for as long as it is there.
        if is_foreign {
            requests.renew();
        }
        let response = router.call(request);
        async move {
            let mut response = response.await?;
            if is_foreign {
                response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => {}
        () = patience.exhausted() => {}
        // A response takes no longer than it takes to write it; there is nothing to wait for.
        () = stop.cancelled() => {}
    }
}

/// How long a connection may go on to speak HTTP.
struct Patience {
    length: Duration,
    until: Mutex<Instant>,
}

impl Patience {
    fn new(length: Duration) -> Self {
        Self { length, until: Mutex::new(Instant::now() + length) }
    }

    fn until(&self) -> MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self) {
        *self.until() = Instant::now() + self.length;
    }

    async fn exhausted(&self) {
        loop {
            let until = *self.until();
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }
}
