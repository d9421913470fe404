//! The same requests without a daemon: a command opens the store itself and serves its own requests.
//! Must never be used beside a running daemon: the store's lock forbids it.

use std::sync::Arc;
use std::sync::mpsc;

use crate::base::error::{Error, Result};
use crate::base::time::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::{House, compose};
use crate::http::reply::Reply;
use crate::http::request::{Head, Headers, Peer, Request};
use crate::http::server::Service;

/// A store opened by this process, served without a socket.
pub struct Here {
    house: House,
    clock: Arc<dyn Clock>,
}

impl Here {
    /// Opens the store. Errors: those of [`compose`].
    pub fn open(config: &Config) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(Here { house: compose(config, Arc::clone(&clock))?, clock })
    }

    /// Serves one request as the operator's.
    pub fn serve(&self, method: &str, target: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Reply> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let head = Head {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: headers.iter().copied().collect::<Headers>(),
            peer: Peer::Control,
            secure: false,
            received_at: self.clock.now(),
        };
        let plan = self.house.app.plan(&head);
        if let Some(reply) = plan.refuse {
            return Ok(reply);
        }
        let (send, receive) = mpsc::sync_channel(1);
        // the receiver waits below, so the channel cannot be closed
        self.house.app.serve(Request { head, body }, Box::new(move |reply| drop(send.send(reply))));
        receive.recv().map_err(|_| Error::storage("the request was dropped without an answer"))
    }

    /// Closes the store: drains, checkpoints.
    pub fn close(self) -> Result<()> {
        self.house.close()
    }
}
