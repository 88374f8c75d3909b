//! Whose request it is; the same for HTTP and WebSocket.
//!
//! There is no authentication yet: every request is the one owner's that the server was started for,
//! which is why it serves loopback addresses only unless it is told otherwise.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};

use super::Services;
use crate::conversation::Owner;

/// The caller.
#[derive(Clone, Debug)]
pub struct Principal(pub Owner);

impl<S> FromRequestParts<S> for Principal
where
    S: Sync,
    Arc<Services>: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(Arc::from_ref(state).owner.clone()))
    }
}
