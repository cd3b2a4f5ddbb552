//! Requests to one server or to the namesrvs. No other module converts a refusal into an [`Error`].

use crate::error::{Error, Unreadable};
use bytes::Bytes;
use rmq_protocol::{Command, RequestCode, ResponseCode, address, fastjson, header::Header};
use rmq_remoting::{Client, Handler, Limits};
use serde::de::DeserializeOwned;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// Connections to servers, and the list of namesrvs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    remoting: Client,
    namesrvs: Arc<Namesrvs>,
    timeout: Duration,
}

struct Namesrvs {
    addresses: Vec<String>,
    /// The namesrv that answered last; it is asked first, so that a dead one costs its timeout only
    /// once.
    current: AtomicUsize,
}

/// One request: the server, the command, and the timeout.
pub(crate) struct Response {
    pub(crate) address: String,
    pub(crate) request: RequestCode,
    pub(crate) command: Command,
}

impl Link {
    /// `namesrvs`: `host:port`, several separated by `;`.
    pub(crate) fn new(
        namesrvs: &str,
        timeout: Duration,
        handler: Arc<dyn Handler>,
        limits: Limits,
    ) -> Result<Self, Error> {
        let addresses = parse_namesrvs(namesrvs)?;
        Ok(Self {
            remoting: Client::new(handler, limits),
            namesrvs: Arc::new(Namesrvs { addresses, current: AtomicUsize::new(0) }),
            timeout,
        })
    }

    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn namesrvs(&self) -> &[String] {
        &self.namesrvs.addresses
    }

    pub(crate) fn remoting(&self) -> &Client {
        &self.remoting
    }

    /// Sends a request to `address`; any response but success is an error.
    pub(crate) async fn ask<'a>(
        &self,
        address: &str,
        request: RequestCode,
        header: &impl Header<'a>,
    ) -> Result<Response, Error> {
        self.ask_with(address, request, header, Bytes::new()).await
    }

    /// The same with a body.
    pub(crate) async fn ask_with<'a>(
        &self,
        address: &str,
        request: RequestCode,
        header: &impl Header<'a>,
        body: impl Into<Bytes>,
    ) -> Result<Response, Error> {
        self.send(address, request, Command::request(request, header).with_body(body), self.timeout).await
    }

    pub(crate) async fn send(
        &self,
        address: &str,
        request: RequestCode,
        command: Command,
        timeout: Duration,
    ) -> Result<Response, Error> {
        let command = self.remoting.request(address, command, timeout).await?;
        let response = Response { address: address.to_owned(), request, command };
        if response.command.code == ResponseCode::Success.number() { Ok(response) } else { Err(response.refused()) }
    }

    /// Tries the namesrvs one after another until one responds.
    pub(crate) async fn ask_namesrv<'a>(
        &self,
        request: RequestCode,
        header: &impl Header<'a>,
    ) -> Result<Response, Error> {
        let count = self.namesrvs.addresses.len();
        let first = self.namesrvs.current.load(Relaxed);
        let mut last = Error::Stopped;
        for step in 0..count {
            let at = (first + step) % count;
            match self.ask(&self.namesrvs.addresses[at], request, header).await {
                Err(error @ Error::Connection(_)) => last = error,
                responded => {
                    self.namesrvs.current.store(at, Relaxed);
                    return responded;
                }
            }
        }
        Err(Error::NoNamesrv { last: Box::new(last) })
    }

    /// Sends a request to every namesrv, because they share nothing. All get it even if one fails;
    /// then its error is the result.
    pub(crate) async fn ask_every_namesrv<'a>(
        &self,
        request: RequestCode,
        header: &impl Header<'a>,
    ) -> Result<Vec<Response>, Error> {
        let asked = self.namesrvs.addresses.iter().map(|address| self.ask(address, request, header));
        futures::future::join_all(asked).await.into_iter().collect()
    }
}

impl Response {
    pub(crate) fn refused(self) -> Error {
        Error::Refused {
            address: self.address,
            request: self.request.name(),
            code: self.command.code,
            remark: self.command.remark.unwrap_or_default(),
        }
    }

    /// The result of `read` on the command.
    pub(crate) fn read<'a, T>(&'a self, read: impl FnOnce(&'a Command) -> Result<T, Unreadable>) -> Result<T, Error> {
        read(&self.command).map_err(|why| Error::invalid_response(&self.address, self.request, why))
    }

    /// The JSON body.
    pub(crate) fn body<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.read(|command| Ok(fastjson::from_slice(&command.body)?))
    }

    /// The header.
    pub(crate) fn header<'a, T: Header<'a>>(&'a self) -> Result<T, Error> {
        self.read(|command| Ok(T::decode(&command.fields)?))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> Result<&str, Error> {
        self.read(|command| std::str::from_utf8(&command.body).map_err(|_| Unreadable::Text))
    }
}

/// `None` instead of the error if the server refused with `code`.
pub(crate) fn none_if<T>(result: Result<T, Error>, code: ResponseCode) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is(code) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_namesrvs(list: &str) -> Result<Vec<String>, Error> {
    let addresses = address::parse_list(list).map_err(|why| Error::Namesrvs { given: list.to_owned(), why })?;
    Ok(addresses.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namesrv_lists_are_split_and_checked() {
        assert_eq!(parse_namesrvs("a:1; [::1]:9876 ;").unwrap(), ["a:1", "[::1]:9876"]);
        for wrong in ["", ";", "host", "host:port", ":9876", "a:1;b", "a:70000"] {
            assert!(matches!(parse_namesrvs(wrong), Err(Error::Namesrvs { .. })), "{wrong}");
        }
        let text = parse_namesrvs("127.0.0.1:99999").unwrap_err().to_string();
        assert!(text.ends_with("the port \"99999\" of \"127.0.0.1:99999\" is not a number from 1 to 65535"), "{text}");
    }
}
