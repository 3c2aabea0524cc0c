//! Requests to servers that are spoken to over HTTP: one after the other, each on a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::Target;
use super::{ClientError, MESSAGE_LIMIT};
use crate::signaling::dialect::{Request, Response};
use crate::signaling::redact::redacted;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where requests go, and where their answers come from. What has been asked is answered even when nobody is there any more.
pub(super) type Exchange = (mpsc::UnboundedSender<Request>, mpsc::UnboundedReceiver<Result<Response, ClientError>>);

/// Starts to take requests.
pub(super) fn start(tls: Arc<ClientConfig>) -> Exchange {
    let (requests, mut asked) = mpsc::unbounded_channel();
    let (answered, answers) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(request) = asked.recv().await {
            let answer = timeout(PATIENCE, perform(&request, &tls)).await;
            let answer = answer.unwrap_or(Err(ClientError::Silent { after: PATIENCE }));
            // Who has left does not want to know.
            let _ = answered.send(answer);
        }
    });
    (requests, answers)
}

async fn perform(request: &Request, tls: &Arc<ClientConfig>) -> Result<Response, ClientError> {
    let target = Target::of_http(&request.url)?;
    let tcp = target.connect().await?;
    if target.is_secure {
        let connector = TlsConnector::from(Arc::clone(tls));
        let stream = connector.connect(target.name.clone(), tcp).await;
        exchange(request, &target, stream.map_err(|error| ClientError::from_tls(&target.host, error))?).await
    } else {
        exchange(request, &target, tcp).await
    }
}

async fn exchange(
    request: &Request,
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Response, ClientError> {
    let broken = |error: &(dyn std::error::Error + 'static)| broken(request, error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let connection = tokio::spawn(connection);
    let mut asked = hyper::Request::builder()
        .method(request.method)
        .uri(target.path.as_str())
        .header("host", target.authority.as_str())
        .header("user-agent", concat!("harness/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &request.headers {
        asked = asked.header(*name, value);
    }
    let asked = asked.body(Full::new(bytes::Bytes::from(request.body.clone()))).map_err(|error| broken(&error))?;
    let response = sender.send_request(asked).await.map_err(|error| broken(&error))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (status, location, etag) = (response.status().as_u16(), header("location"), header("etag"));
    let body = Limited::new(response.into_body(), MESSAGE_LIMIT).collect().await;
    let body = body.map_err(|error| broken(&*error))?.to_bytes();
    connection.abort();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Response {
        method: request.method,
        url: request.url.clone(),
        asked: request.body.clone(),
        status,
        location,
        etag,
        body,
    })
}

/// Why there is no answer, with all that is known of it.
fn broken(request: &Request, error: &(dyn std::error::Error + 'static)) -> ClientError {
    let mut why = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !why.contains(&cause_text) {
            why = format!("{why}: {cause_text}");
        }
        source = cause.source();
    }
    if error.is::<LengthLimitError>() {
        why = format!("the answer is longer than {MESSAGE_LIMIT} bytes");
    }
    ClientError::Io(std::io::Error::other(format!("{} {}: {why}", request.method, redacted(&request.url))))
}
