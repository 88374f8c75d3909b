//! Cases and properties of the rules next door.

use proptest::prelude::*;
use serde_json::Value;
use unicode_normalization::is_nfc;

use super::*;

const KYOTO: &str = "Planning a Trip to Kyoto";

/// The cases that `¦` divides.
fn cases(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split(" ¦ ")
}

#[track_caller]
fn assert_cleans(output: &str, title: &str) {
    let cleaned = clean(output);
    assert_eq!(cleaned.as_ref().map(Title::as_str), Ok(title), "{output:?}");
    assert_eq!(clean(title), cleaned, "{title:?} does not clean to itself");
}

#[track_caller]
fn assert_rejects(output: &str, rejection: Rejection) {
    assert_eq!(clean(output), Err(rejection), "{output:?}");
}

#[test]
fn the_corpus_of_model_outputs() {
    let corpus = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/corpus/title-outputs.jsonl"
    ));
    for line in corpus.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let cleaned = clean(case["output"].as_str().unwrap());
        assert_eq!(
            cleaned.as_ref().ok().map(Title::as_str),
            case["title"].as_str(),
            "{case}: {cleaned:?}"
        );
    }
}

#[test]
fn titles_stay_as_they_are() {
    for title in cases(
        "Move Semantics in C++ ¦ F# and C# ¦ Node.js Streams ¦ Intro to .NET ¦ I/O Scheduling in Linux ¦ \
         Title IX Compliance ¦ Job Title: Software Engineer ¦ Python: A Beginner Guide ¦ \
         Kotlin: Coroutines ¦ JavaScript: The Good Parts ¦ Data: A Guide ¦ std::vector in C++ ¦ \
         Vec<T> in Rust ¦ List<Title> in Java ¦ a < b in SQL ¦ Map<string, number> in TypeScript ¦ I <3 Kyoto ¦ \
         Arrow Functions => and -> ¦ F# |> and <| Operators ¦ *args and **kwargs ¦ **kwargs Explained ¦ \
         __init__ vs __new__ ¦ snake_case vs camelCase ¦ 2 * 3 * 4 ¦ \"A\" or \"B\"? ¦ \"C++\" vs \"C#\" ¦ \
         “A” und “B” ¦ 「東京」と「京都」 ¦ 【京都】の旅行計画 ¦ \"東京\"と\"京都\" ¦ 27\" Monitor ¦ '90s Music ¦ Rock 'n' Roll ¦ \
         Dad’s 60th Birthday ¦ The Joneses' ¦ What Is 2 + 2? ¦ Hello World! ¦ ¿Qué es una mónada? ¦ \
         Is This Real?! ¦ 京都旅行の計画 ¦ 2. Bundesliga ¦ 3. Liga ¦ #hashtag Strategy ¦ -5 Degrees ¦ >50% Off ¦ \
         [WIP] Kyoto ¦ 🚀 Launch ¦ None of the Above ¦ Null Safety in Kotlin ¦ New Chat Features ¦ \
         Sorry Seems to Be the Hardest Word ¦ As an Aide in Congress ¦ The User Interface of Blender ¦ \
         Cannot Create Table in MySQL ¦ Unable to Generate SSH Key ¦ Request Denied by Nginx ¦ \
         Analysis of Variance ¦ Thinking in Systems ¦ Imagine AI ¦ Trip 🗾 Plans ¦ www.example.com Redesign ¦ \
         {} vs [] in JavaScript ¦ {{ mustache }} ¦ Topical Creams ¦ Subjects and Objects ¦ \
         Here Comes the Sun ¦ Sure Bets ¦ Hi-Fi Basics ¦ 2024 ¦ What Does :// Mean ¦ Тематический план ¦ \
         Titelverteidigung ¦ می\u{200C}خواهم سفر کنم ¦ هل القطط تحب الماء؟ ¦ Überraschung für Oma ¦ \
         標準ライブラリ ¦ 题目难度分析 ¦ 제목학원",
    ) {
        assert_cleans(title, title);
    }
}

#[test]
fn quotes_around_the_whole_go() {
    for output in cases(
        "\"{}\" ¦ '{}' ¦ `{}` ¦ “{}” ¦ ”{}” ¦ ‘{}’ ¦ „{}“ ¦ „{}” ¦ ‚{}‘ ¦ «{}» ¦ « {} » ¦ »{}« ¦ »{}» ¦ ‹{}› ¦ \
         「{}」 ¦ 『{}』 ¦ 《{}》 ¦ 〈{}〉 ¦ 【{}】 ¦ 〝{}〟 ¦ ＂{}＂ ¦ [{}] ¦ \"“{}”\" ¦ **\"{}\"** ¦ \"**{}**\" ¦ \"\"{}\"\" ¦ \
         \"{}.\" ¦ \"{}\". ¦ ```{}``` ¦ \"'`{}`'\" ¦ 『「{}」』。",
    ) {
        assert_cleans(&output.replace("{}", KYOTO), KYOTO);
    }
    assert_cleans("‘Dad’s 60th Birthday’", "Dad’s 60th Birthday");
    assert_cleans("'Dad's 60th Birthday'", "Dad's 60th Birthday");
    assert_cleans("'The Giants' Revenge'", "The Giants' Revenge");
    assert_cleans("\"Why \"Hello World\" Fails\"", "Why \"Hello World\" Fails");
    assert_cleans("“Why “Hello World” Fails”", "Why “Hello World” Fails");
    assert_cleans(r#""Why \"Hello\" Fails""#, "Why \"Hello\" Fails");
    for half in cases(
        "\"Planning a Trip to Kyo ¦ “Planning a ¦ “Title: Planning a ¦ \"title\": \"Plan ¦ 「京都旅行 ¦ `Planning ¦ Planning a Trip\" ¦ 京都旅行」",
    ) {
        assert_rejects(half, Rejection::CutOff);
    }
    for empty in cases("\"\" ¦ “” ¦ 「」 ¦ \"'\"' ¦ ``") {
        assert!(clean(empty).is_err(), "{empty:?}");
    }
}

#[test]
fn labels_go() {
    for label in cases(
        "Title: ¦ title: ¦ TITLE: ¦ Title : ¦ Title - ¦ Title – ¦ Title = ¦ **Title:** ¦ **Title**: ¦ \
         **Title:**  ¦ *Title:* ¦ __Title:__ ¦ # Title: ¦ - Title: ¦ Chat title: ¦ Conversation title - ¦ \
         Conversation Title: ¦ Suggested title: ¦ Topic: ¦ Subject: ¦ Headline: ¦ Sure, here's a title: ¦ \
         Sure! Here’s a title for this conversation: ¦ Here is a short title: ¦ Final answer: ¦ Assistant: ¦ \
         The title is: ¦ Titel: ¦ Titel des Gesprächs: ¦ Hier ist ein Titel: ¦ Überschrift: ¦ Titre : ¦ \
         Titre\u{A0}: ¦ Titre de la conversation : ¦ Título: ¦ Título de la conversación: ¦ \
         Título da conversa: ¦ Titolo: ¦ Tytuł: ¦ Название: ¦ Заголовок беседы: ¦ Тема: ¦ Başlık: ¦ 标题： ¦ \
         标题: ¦ 對話標題： ¦ 建议的标题： ¦ 以下是标题： ¦ タイトル： ¦ 会話のタイトル： ¦ タイトル案： ¦ 件名： ¦ 제목: ¦ 대화 제목: ¦ 추천 제목: ¦ عنوان: ¦ \
         शीर्षक: ¦ Tiêu đề: ¦ Judul: ¦ \"Title\" - ¦ [Title]: ¦ Suggested: ¦ My suggestion: ¦ I would suggest:",
    ) {
        assert_cleans(&format!("{label} {KYOTO}"), KYOTO);
    }
    assert_cleans("Title:Kyoto", "Kyoto");
    assert_cleans("**Title:**Kyoto", "Kyoto");
    assert_cleans("标题：《京都旅行》", "京都旅行");
    assert_cleans("タイトル：「京都旅行の計画」", "京都旅行の計画");
    assert_cleans("\"Title: Planning a Trip to Kyoto\"", KYOTO);
    assert_cleans("The title is \"Planning a Trip to Kyoto\".", KYOTO);
    assert_cleans("Title “Planning a Trip to Kyoto”", KYOTO);
    assert_cleans("Title \"Foo\" in CSS", "Title \"Foo\" in CSS");
    for bare in cases(
        "Title: ¦ Title ¦ **Title:** ¦ Here is a title ¦ Here's a title: ¦ Titel ¦ 标题： ¦ Chat Title",
    ) {
        assert!(clean(bare).is_err(), "{bare:?}");
    }
}

#[test]
fn markdown_goes() {
    for output in cases(
        "# {} ¦ ###### {} ¦ ## {} ## ¦ **{}** ¦ __{}__ ¦ *{}* ¦ _{}_ ¦ ***{}*** ¦ ~~{}~~ ¦ `{}` ¦ - {} ¦ \
         * {} ¦ + {} ¦ • {} ¦ 1. {} ¦ 1) {} ¦ > {} ¦ > **{}** ¦ # **\"{}\"** ¦ [{}](https://a.example) ¦ \
         {}\n===== ¦ ---\n{}\n--- ¦ - **Title:** *{}*. ¦ ```\n{}\n``` ¦ ```text\n{}\n``` ¦ ***\n\n# {}",
    ) {
        assert_cleans(&output.replace("{}", KYOTO), KYOTO);
    }
    assert_cleans("The `useEffect` Hook", "The useEffect Hook");
    assert_cleans("Planning **a Trip** to Kyoto", KYOTO);
    assert_cleans("**京都旅行**の計画", "京都旅行の計画");
    for left in cases(
        "**Planning a Trip ¦ Kyoto** ¦ ![x](b (c) ¦ | Kyoto | Trip | ¦ Kyoto ``` Trip ¦ \\boxed{Kyoto}",
    ) {
        assert_rejects(left, Rejection::Markup);
    }
}

#[test]
fn tags_go_or_are_rejected() {
    for output in cases(
        "<title>{}</title> ¦ <b>{}</b> ¦ <h1 class=\"t\">{}</h1> ¦ <title>\n{}\n</title> ¦ \
         <p><strong>{}</strong></p> ¦ <answer>{}</answer> ¦ <title>**{}**</title>",
    ) {
        assert_cleans(&output.replace("{}", KYOTO), KYOTO);
    }
    for left in cases(
        "<b>Kyoto ¦ Kyoto</b> ¦ Kyoto<br>Trip ¦ Kyoto<BR>Trip ¦ <b>Kyoto</b> Trip ¦ <!-- x --> Kyoto ¦ Kyoto <img src=x ¦ \
         Kyoto<script>alert(1)</script> ¦ <a href=\"x\">Kyoto ¦ <title>Kyoto",
    ) {
        assert_rejects(left, Rejection::Markup);
    }
}

#[test]
fn preambles_go() {
    for output in cases(
        "Sure, here's a title:\n\n{} ¦ Title:\n{} ¦ **Title:**\n\n{} ¦ # Title\n\n{} ¦ 标题：\n{} ¦ \
         Here you go:\r\n\r\n\"{}\" ¦ Here is the JSON:\n```json\n{\"title\": \"{}\"}\n``` ¦ \
         Here is the JSON:\n\n{\n  \"title\": \"{}\"\n} ¦ **Here it is:**\n\n- {} ¦ Titel\n{}",
    ) {
        assert_cleans(&output.replace("{}", KYOTO), KYOTO);
    }
    for several in cases(
        "Kyoto\nTrip ¦ Kyoto\n\nLet me know! ¦ Sure!\nKyoto ¦ Titles:\n1. Kyoto\n2. Trip ¦ A:\nB:\nC ¦ \
         Kyoto\rTrip ¦ {\"title\":\"Kyoto\\nTrip\"} ¦ # Kyoto\n\n## Day 1",
    ) {
        assert_rejects(several, Rejection::SeveralLines);
    }
}

#[test]
fn json_gives_its_title_or_nothing() {
    for output in cases(
        "{\"title\":\"{}\"} ¦ \"title\": \"{}\" ¦ {\n  \"title\" : \"{}\"\n}\n ¦ ```json\n{\"title\":\"{}\"}\n``` ¦ \
         \u{FEFF}{\"title\":\"{}\"} ¦ ```\n{\"title\":\"{}\"}\n``` ¦ ```json {\"title\":\"{}\"} ``` ¦ \
         {\"title\":\"\\\"{}\\\"\"} ¦ \"{}\" ¦ {\"title\":\"**{}**\"} ¦ {\"title\":\"Title: {}.\"} ¦ \
         {\"title\":\"{}\",\"language\":\"en\"} ¦ \"{\\\"title\\\":\\\"{}\\\"}\" ¦ \
         Title: {\"title\":\"{}\"} ¦ ```JSON\r\n{\"title\":\"{}\"}\r\n``` ¦ \
         <think>x</think>{\"title\":\"{}\"} ¦ {\"title\":\"<think>x</think>{}\"}",
    ) {
        assert_cleans(&output.replace("{}", KYOTO), KYOTO);
    }
    for other in cases(
        "{\"title\":\"Kyo ¦ {\"title\":\"Kyoto\" ¦ {\"title\": ¦ { ¦ {\"name\":\"Kyoto\"} ¦ \
         {\"title\":null} ¦ {\"title\":7} ¦ {\"title\":[\"Kyoto\"]} ¦ [\"Kyoto\"] ¦ \
         [{\"title\":\"Kyoto\"}] ¦ [\"Kyo ¦ {\"title\":\"Kyoto\"} Enjoy ¦ {} ¦ [] ¦ {title: \"Kyoto\"} ¦ \
         {'title': 'Kyoto'} ¦ json {\"title\":\"Kyoto\"} ¦ {\"titles\":[\"A\"]} ¦ \
         {\"title\":\"Kyoto\",} ¦ ```json\n{\"title\":\"Kyo\n```",
    ) {
        assert_rejects(other, Rejection::NotTheShape);
    }
    for cut in cases(
        "```json ¦ ``` ¦ ```json\n{\"title\":\"Kyoto\"} ¦ ```json\n{\"title\":\"Kyo ¦ ```\nKyoto",
    ) {
        assert_rejects(cut, Rejection::CutOff);
    }
    for empty in cases("{\"title\":\"\"} ¦ {\"title\":\" \"} ¦ ``` ``` ¦ {\"title\":\"\\u0000\"}")
    {
        assert!(clean(empty).is_err(), "{empty:?}");
    }
}

#[test]
fn reasoning_goes() {
    for output in cases(
        "<think>a\nb</think>{} ¦ <THINK>a</THINK>\n\n{} ¦ <thinking>a</thinking>{} ¦ \
         <reasoning>a</reasoning> {} ¦ <think></think>{} ¦ a\nb\n</think>\n{} ¦ </think>{} ¦ \
         <think>a</think><think>b</think>{} ¦ <think>a <think>b</think> c</think>{} ¦ {}\n<think>a</think> ¦ \
         <think type=\"x\">a</think>{} ¦ <analysis>a</analysis>\n<title>{}</title> ¦ [THINK]a[/THINK]{} ¦ \
         ◁think▷a◁/think▷{} ¦ {}<|im_end|> ¦ {}</s> ¦ \
         <|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|> ¦ \
         <|channel|>final <|constrain|>json<|message|>{\"title\":\"{}\"} ¦ \
         analysisThe user wants Kyoto.assistantfinal{} ¦ {}<｜end▁of▁sentence｜> ¦ \
         <think>Sure:\n```json</think>\n```json\n{\"title\":\"{}\"}\n``` ¦ <seed:think>a</seed:think>{}",
    ) {
        assert_cleans(&output.replace("{}", KYOTO), KYOTO);
    }
    for open in cases(
        "<think>The user ¦ <think> ¦ <think ¦ Kyoto <think>because ¦ <thinking>a</thinking><thinking>b ¦ \
         [THINK]a ¦ <|channel|>analysis<|message|>The user ¦ <|channel|>analysis<|message|>Kyoto<|end|> ¦ \
         <th\u{200B}ink>Kyoto ¦ analysisThe user wants Kyoto ¦ <|start|>assistant Kyoto ¦ \
         The user wants a trip to Kyoto ¦ Okay, the user is planning ¦ Let me think about Kyoto ¦ \
         <|thought|>Kyoto",
    ) {
        assert_rejects(open, Rejection::Reasoning);
    }
    assert_rejects("<think>a</think>", Rejection::Empty);
}

#[test]
fn refusals_and_answers_are_rejected() {
    for refusal in cases(
        "I'm sorry, but I can't help with that. ¦ I’m sorry, I can’t assist. ¦ i am sorry ¦ \
         Sorry, I can't do that ¦ I cannot create a title ¦ I can’t assist with that request ¦ \
         I am unable to comply ¦ I'm not able to do that ¦ As an AI, I cannot ¦ As a language model, no ¦ \
         I apologize, but no ¦ Unfortunately, I can't ¦ \"I'm sorry\" ¦ Title: I'm sorry, I can't help ¦ \
         {\"title\":\"I cannot help with that\"} ¦ Es tut mir leid, das geht nicht ¦ Tut mir leid ¦ \
         Leider kann ich das nicht ¦ Je suis désolé, je ne peux pas ¦ Désolé, impossible ¦ \
         Lo siento, no puedo ayudar ¦ Desculpe, não posso ajudar ¦ Mi dispiace, non posso ¦ \
         Извините, я не могу ¦ К сожалению, это невозможно ¦ 抱歉，我无法帮助您 ¦ 很抱歉 ¦ 对不起，我不能 ¦ 作为一个 AI 模型 ¦ \
         申し訳ありませんが ¦ 申し訳ございません ¦ AIとしてお答えできません ¦ 죄송합니다. 도와드릴 수 없습니다 ¦ Przepraszam, nie mogę ¦ \
         عذرًا، لا أستطيع ¦ 😔 I'm sorry ¦ I'M SORRY ¦ Het spijt me ¦ Xin lỗi, tôi không thể ¦ \
         Unable to generate a title",
    ) {
        assert_rejects(refusal, Rejection::Refusal);
    }
    for answer in cases(
        "Sure, I can help with that! ¦ Of course! Kyoto it is ¦ Hello! How can I help you today? ¦ \
         Certainly! ¦ Here is a plan for Kyoto ¦ Bien sûr ! ¦ 好的，京都旅行 ¦ もちろんです ¦ Hi there! ¦ 네, 도와드릴게요",
    ) {
        assert_rejects(answer, Rejection::Answer);
    }
}

#[test]
fn placeholders_are_rejected() {
    for placeholder in cases(
        "New chat ¦ New Chat ¦ NEW CONVERSATION ¦ \"New Chat\" ¦ New chat 2 ¦ Untitled ¦ (untitled) ¦ \
         Untitled. ¦ No title ¦ N/A ¦ n/a. ¦ null ¦ None ¦ undefined ¦ Unknown ¦ {\"title\":\"null\"} ¦ \
         Title: None ¦ Title: N/A ¦ Neue Unterhaltung ¦ Sans titre ¦ Sin título ¦ Sem título ¦ \
         Senza titolo ¦ Без названия ¦ 新对话 ¦ 无标题 ¦ 無題 ¦ 新しいチャット ¦ 새 채팅 ¦ 제목 없음 ¦ Your Title Here ¦ \
         Conversation Title ¦ **Untitled**",
    ) {
        assert_rejects(placeholder, Rejection::Placeholder);
    }
}

#[test]
fn urls_with_a_scheme_are_rejected() {
    for url in cases(
        "https://a.example ¦ Read More at http://a ¦ HTTPS://A.EXAMPLE ¦ ftp://a ¦ javascript:alert(1) ¦ \
         JavaScript:alert(1) ¦ data:text/html,x ¦ mailto:a@b.example ¦ Kyoto (https://a.example) ¦ \
         myapp://open ¦ java\u{200B}script:alert(1) ¦ <https://a.example> ¦ tel:+4930 ¦ file:///etc/passwd ¦ (javascript:alert(1)) ¦ x-javascript:alert(1) ¦ \
         https:a.example ¦ 見てhttps://a.example",
    ) {
        assert_rejects(url, Rejection::Url);
    }
}

#[test]
fn endings_go() {
    for ending in cases(
        ". ¦ ... ¦ … ¦ 。 ¦ ． ¦ ; ¦ ； ¦ , ¦ ， ¦ 、 ¦ : ¦ ： ¦  . ¦ . . . ¦ ، ¦ ۔ ¦ । ¦  - ¦  — ¦ .,;",
    ) {
        assert_cleans(&format!("{KYOTO}{ending}"), KYOTO);
    }
    for kept in cases("? ¦ ! ¦ ？ ¦ ！ ¦ ?! ¦ ؟ ¦ ) ¦ % ¦ ++ ¦ # ¦ ™ ¦ 🚀") {
        assert_cleans(&format!("{KYOTO}{kept}"), &format!("{KYOTO}{kept}"));
    }
}

#[test]
fn what_is_too_long_is_rejected_and_never_cut() {
    assert_cleans(&"x".repeat(60), &"x".repeat(60));
    assert_rejects(&"x".repeat(61), Rejection::TooLong);
    assert_cleans(&"京".repeat(60), &"京".repeat(60));
    assert_rejects(&"京".repeat(61), Rejection::TooLong);
    assert_cleans("a b c d e f g h i j", "a b c d e f g h i j");
    assert_rejects("a b c d e f g h i j k", Rejection::TooManyWords);
    let family = "👩\u{200D}👩\u{200D}👧\u{200D}👦";
    assert_cleans(
        &format!("ab{}", family.repeat(18)),
        &format!("ab{}", family.repeat(18)),
    );
    assert_rejects(&format!("abc{}", family.repeat(18)), Rejection::TooLong);
    assert_rejects(
        &format!("{KYOTO}{}", " ".repeat(20_000)),
        Rejection::TooLong,
    );
    for hopeless in cases("... ¦ 🚀🚀 ¦ ? ¦ — ¦ 🅰🅱 ¦ --- ¦ \u{200B} ¦ <> ¦ () ¦ 🇯🇵")
    {
        assert!(clean(hopeless).is_err(), "{hopeless:?}");
    }
}

#[test]
fn hostile_output_costs_little() {
    let began = std::time::Instant::now();
    for piece in cases(
        "\" ¦ “ ¦ [ ¦ <think> ¦ </think> ¦ < ¦ ` ¦ `` `  ¦ * ¦ **a ¦ _a ¦ ]( ¦ [a]( ¦ {\"title\": ¦ { ¦ [[ ¦ \
         a: ¦ :// ¦ \n ¦ -  ¦ #  ¦ >  ¦ <|a|> ¦ <a ¦ Title: ¦ \u{301} ¦ a\u{200D} ¦ م\u{200C} ¦  \u{FE0F} ¦ \
         <b> ¦ (",
    ) {
        let output = piece.repeat(MAX_OUTPUT_BYTES / piece.len());
        assert!(clean(&output).is_err(), "{piece:?}");
        let _either = clean(&format!("{output}x"));
    }
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert_rejects(
        &format!("{}Kyoto{}", "[".repeat(40), "]".repeat(40)),
        Rejection::Markup,
    );
}

/// Strings dense in what the rules look at.
fn tricky() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(cases(
        "Kyoto ¦ a ¦   ¦ Trip ¦ 京都 ¦ 1. ¦ \" ¦ ' ¦ ’ ¦ “ ¦ ” ¦ „ ¦ 「 ¦ 」 ¦ « ¦ » ¦ [ ¦ ] ¦ ` ¦ ``` ¦ * ¦ \
         ** ¦ _ ¦ ~~ ¦ # ¦ -  ¦ >  ¦ : ¦ ： ¦ Title ¦ Title: ¦ 标题 ¦ . ¦ … ¦ ? ¦ ! ¦ \n ¦ \r\n ¦ < ¦ > ¦ <b> ¦ \
         </b> ¦ <think> ¦ </think> ¦ { ¦ } ¦ {\"title\": ¦ http ¦ // ¦ javascript: ¦ \u{200B} ¦ \u{200D} ¦ \
         \u{FE0F} ¦ \u{301} ¦ 🚀 ¦ \\ ¦ | ¦ <| ¦ |> ¦ ( ¦ ) ¦ ]( ¦ I'm sorry ¦ Sure ¦ , ¦ - ¦ — ¦ json ¦ e",
    ).collect::<Vec<_>>());
    proptest::collection::vec(
        prop_oneof![8 => pieces.prop_map(String::from), 1 => any::<String>()],
        0..12,
    )
    .prop_map(|pieces| pieces.concat())
}

/// A title that no rule touches.
fn good_title() -> impl Strategy<Value = String> {
    "[A-Z][a-z]{2,8} [a-z]{4,9} (c\\+\\+|京都|été|Dad's|x_y) [A-Z][a-z]{1,7}[?!]?"
        .prop_filter("a phrase", |title| clean(title).is_ok())
}

fn decorated() -> impl Strategy<Value = (String, String)> {
    let wraps = proptest::sample::select(
        cases(
            "\"{}\" ¦ “{}” ¦ 「{}」 ¦ «{}» ¦ **{}** ¦ *{}* ¦ `{}` ¦ # {} ¦ - {} ¦ > {} ¦ Title: {} ¦ Titre : {} ¦ \
             标题：{} ¦ {}. ¦ {}… ¦ <b>{}</b> ¦ \u{FEFF}{}\u{200B}",
        )
        .collect::<Vec<_>>(),
    );
    let outer = proptest::sample::select(
        cases("{} ¦ ```\n{}\n``` ¦ <think>hm\n</think>\n{} ¦ Here you go:\n\n{} ¦ {}<|im_end|>")
            .collect::<Vec<_>>(),
    );
    let wraps = proptest::collection::vec(wraps, 0..3);
    (good_title(), wraps, outer, any::<bool>()).prop_map(|(title, wraps, outer, is_json)| {
        let wrapped = wraps
            .iter()
            .fold(title.clone(), |inner, wrap| wrap.replace("{}", &inner));
        let output = if is_json {
            serde_json::json!({ "title": wrapped }).to_string()
        } else {
            wrapped
        };
        (title, outer.replace("{}", &output))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_is_accepted_is_a_title(output in prop_oneof![tricky(), any::<String>()]) {
        let Ok(title) = clean(&output) else { return Ok(()) };
        let text = title.as_str();
        prop_assert_eq!(clean(text), Ok(title.clone()));
        prop_assert_eq!(single_line(text), text);
        prop_assert!(is_nfc(text));
        prop_assert!((1..=MAX_CHARACTERS).contains(&text.graphemes(true).count()));
        prop_assert!(text.chars().count() <= 128 && text.split_whitespace().count() <= MAX_WORDS);
        prop_assert!(text.match_indices("://").all(|(at, _)| !text[..at].ends_with(|c: char| c.is_ascii_alphanumeric())));
        prop_assert!(!text.contains(" javascript:a") && !text.starts_with("javascript:a"));
        prop_assert!(!text.ends_with(['.', '…', '。', ',', ';', ':', ' ']));
        let inner: String = text.chars().skip(1).take(text.chars().count().saturating_sub(2)).collect();
        for (open, close) in [('"', '"'), ('“', '”'), ('「', '」'), ('«', '»'), ('`', '`')] {
            let wraps = text.starts_with(open) && text.ends_with(close) && !inner.contains([open, close]);
            prop_assert!(!wraps, "{text:?}");
        }
    }

    #[test]
    fn decoration_goes((title, output) in decorated()) {
        let cleaned = clean(&output);
        prop_assert_eq!(cleaned.as_ref().map(Title::as_str), Ok(title.as_str()), "{:?}", output);
    }
}
