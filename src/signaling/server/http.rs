//! What the server answers over HTTPS: its page, its health, its counters, and the upgrade to a WebSocket.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Page;
use super::accept::Admission;
use super::connection;
use super::hub::Hub;
use super::peerjs::{self, Claim, PeerJs};
use super::remote::{self, Door};
use super::socketio;
use crate::signaling::certificate::random;

/// Isolates pages (for high-resolution timers) and lets them load from and connect to this server only.
const PAGE_HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; connect-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
         worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
];

/// What every connection shares.
#[derive(Debug)]
pub(super) struct App {
    pub(super) hub: Arc<Hub>,
    pages: HashMap<String, Page>,
    pub(super) tasks: TaskTracker,
    /// Where people come in whom a run has invited, if there is one.
    pub(super) door: OnceLock<Arc<Door>>,
    /// Cancelled when a task must end at once.
    pub(super) kill: CancellationToken,
}

impl App {
    pub(super) fn new(hub: Arc<Hub>, pages: Vec<Page>, kill: CancellationToken) -> Self {
        let pages = pages.into_iter().map(|page| (page.path.clone(), page)).collect();
        Self { hub, pages, tasks: TaskTracker::new(), door: OnceLock::new(), kill }
    }
}

/// The routes, of which the protocols with connections of their own end with `stop`.
pub(super) fn router(app: Arc<App>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/ws", get(upgrade))
        .route("/peerjs", get(upgrade_peerjs))
        .route("/join/ws", get(upgrade_guest))
        .route("/{key}/id", get(new_id))
        .fallback(page)
        .layer(socketio::layer(&app, stop))
        .with_state(app)
}

/// Whether a path belongs to a protocol whose pages may come from anywhere (CORS).
pub(super) fn is_foreign(path: &str) -> bool {
    path.starts_with(socketio::PATH) || path.starts_with("/peerjs") || path.ends_with("/id")
}

/// An id for a client of PeerJS that brings none.
async fn new_id() -> Response {
    let mut bits = [0; 16];
    match random(&mut bits) {
        Ok(()) => crate::signaling::hex(&bits).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], app.hub.metrics.render(app.hub.levels())).into_response()
}

/// Pages are looked up by their exact path: there is no file system behind them that a path could lead out of.
async fn page(State(app): State<Arc<App>>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], "GET and HEAD only\n").into_response();
    }
    match app.pages.get(request.uri().path()) {
        Some(page) => {
            let content_type = [(header::CONTENT_TYPE, page.content_type.clone())];
            (PAGE_HEADERS, content_type, page.body.clone()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such page\n").into_response(),
    }
}

async fn upgrade(State(app): State<Arc<App>>, request: Request) -> Response {
    take_over(app, request, connection::serve)
}

async fn upgrade_peerjs(State(app): State<Arc<App>>, request: Request) -> Response {
    let claim = Claim::parse(request.uri().query().unwrap_or_default());
    take_over(app, request, |hub: Arc<Hub>, stream, already_read| async move {
        let socket = connection::open(&hub, stream, already_read).await;
        match claim {
            Ok(claim) => {
                let id = claim.id.as_str().into();
                if let Err(socket) = connection::attend(hub.clone(), id, socket, PeerJs::new(claim)).await {
                    connection::turn_away(&hub, *socket, peerjs::taken()).await;
                }
            }
            Err(why) => connection::turn_away(&hub, socket, why).await,
        }
    })
}

async fn upgrade_guest(State(app): State<Arc<App>>, request: Request) -> Response {
    let Some(door) = app.door.get().cloned() else {
        return (StatusCode::NOT_FOUND, "nobody is invited to this server\n").into_response();
    };
    let token = request.uri().query().unwrap_or_default().to_owned();
    take_over(app, request, |hub, stream, already_read| remote::serve(door, hub, token, stream, already_read))
}

/// Makes a WebSocket of the connection, and hands it to `serve` on a task of its own.
fn take_over<F>(
    app: Arc<App>,
    request: Request,
    serve: impl FnOnce(Arc<Hub>, TlsStream<TcpStream>, Bytes) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send,
{
    let response = match create_response_with_body(&request, Body::empty) {
        Ok(response) => response,
        Err(error) => {
            let text = format!("a WebSocket upgrade (RFC 6455) is expected here: {error}\n");
            let version = [(HeaderName::from_static("sec-websocket-version"), "13")];
            return (StatusCode::UPGRADE_REQUIRED, version, text).into_response();
        }
    };
    let admission = request.extensions().get::<Admission>().cloned();
    let hub = app.hub.clone();
    let client = async move {
        // Counts as open until the client's task ends.
        let _admission = admission;
        let patience = hub.limits.http_timeout;
        let Ok(Ok(upgraded)) = tokio::time::timeout(patience, hyper::upgrade::on(request)).await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() else { return };
        serve(hub, parts.io.into_inner(), parts.read_buf).await;
    };
    app.tasks.spawn(app.kill.clone().run_until_cancelled_owned(client));
    response
}
