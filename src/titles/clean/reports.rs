//! Detects error reports: gateways and SDKs that return an error text as the answer, with status 200.
//!
//! "Error 404" is a valid title if the user asks about it, so a title is a report only if the message mentions no
//! trouble.

use super::{
    phrases::{phrases, straighten},
    refusals::{FUNCTION_WORDS, FoldedMessage, has_words, words},
};

/// Phrases of error texts.
const REPORTS: &str = "api error | http error | error code | error occurred | internal error | internal server error | server error | bad gateway | \
     service unavailable | temporarily unavailable | gateway timeout | gateway time-out | too many requests | rate limit exceeded | \
     rate limit reached | rate limit hit | quota exceeded | exceeded your current quota | current quota | insufficient quota | insufficient balance | \
     insufficient credit | invalid api key | incorrect api key | api key not valid | api key provided | invalid token | authentication failed | \
     unauthorized | permission denied | access denied | request timed out | request timeout | request failed | timeout exceeded | connection error | \
     connection refused | connection reset | connection timed out | connection closed | network error | upstream connect error | upstream request | \
     no healthy upstream | is overloaded | model overloaded | server overloaded | server is busy | model not found | model is loading | \
     no available channel | something went wrong | unexpected error | unknown error | fetch failed | failed to fetch | bad request | \
     context length exceeded | maximum context length | content management policy | \
     服务器错误 | 服务器繁忙 | 请求失败 | 请求超时 | 网络错误 | 接口错误 | 额度不足 | 余额不足 | 请求过于频繁 | サーバーエラー | エラーが発生 | 오류가 발생 | \
     ein fehler ist aufgetreten | interner fehler | une erreur est survenue | erreur interne | ha ocurrido un error | error interno | \
     ocorreu um erro | si è verificato un errore | произошла ошибка | внутренняя ошибка";

/// Whether a title reports an error that its message does not mention.
pub(super) fn is_report(title: &str, message: &str) -> bool {
    let text = straighten(title);
    let text = text.trim_matches(|c: char| !c.is_alphanumeric());
    let is_candidate =
        begins_with_error(text) || phrases(&[REPORTS]).any(|phrase| has_words(text, phrase));
    if !is_candidate {
        return false;
    }
    let message = FoldedMessage::of(message);
    let is_named = words(text)
        .filter(|word| {
            !FUNCTION_WORDS
                .split_whitespace()
                .any(|known| known == *word)
        })
        .any(|word| message.has_form_of(word));
    !is_named && !message.is_unable()
}

/// `Error: …`, `Error 503 …`, `[ERROR] …`. "Error Handling in Rust" continues with a word and is not a report.
fn begins_with_error(text: &str) -> bool {
    [
        "error",
        "exception",
        "fehler",
        "erreur",
        "ошибка",
        "错误",
        "エラー",
    ]
    .iter()
    .filter_map(|word| text.strip_prefix(word))
    .any(|rest| {
        let rest = rest.trim_start();
        rest.starts_with([':', '：', ']', '-', '('])
            || rest.starts_with(|c: char| c.is_ascii_digit())
    })
}
