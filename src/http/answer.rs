//! One answer, from wherever it comes: at once from the door, or later from the pen. Adds the cross-origin headers.
//! Invariant: the first answer given is the one that is sent.

use std::sync::{Arc, Mutex, PoisonError};

use crate::http::app::App;
use crate::http::cors::Grant;
use crate::http::reply::Reply;
use crate::http::request::Head;
use crate::http::server::Responder;

/// A responder that two places may hold.
#[derive(Clone)]
pub struct Answering {
    responder: Arc<Mutex<Option<Responder>>>,
    grant: Arc<Grant>,
}

impl Answering {
    /// For this request.
    pub fn new(app: &App, head: &Head, done: Responder) -> Self {
        Answering { responder: Arc::new(Mutex::new(Some(done))), grant: Arc::new(Grant::of(app, head)) }
    }

    /// Sends the answer; a second one is dropped.
    pub fn send(&self, reply: Reply) {
        let responder = self.responder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(responder) = responder {
            responder(self.grant.add(reply));
        }
    }
}
