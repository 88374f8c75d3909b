//! Cases and properties of the cleaning rules.

use proptest::prelude::*;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::*;

const KYOTO: &str = "Planning a Trip to Kyoto";

/// The cases, separated by `¦`.
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

/// The lines of a corpus whose result differs from the expected one.
fn wrong_in(corpus: &str) -> Vec<String> {
    let wrong = |line: &str| {
        let case: Value = serde_json::from_str(line).unwrap();
        let message = case["message"].as_str();
        let cleaned = clean_with(case["output"].as_str().unwrap(), message, Limits::DEFAULT);
        let title = cleaned.as_ref().ok().filter(|title| {
            message.is_none_or(|message| {
                crate::titles::language::fits(
                    title.as_str(),
                    message,
                    &crate::titles::language::TitleLanguage::Auto,
                )
            })
        });
        let is_right = title.map(Title::as_str) == case["title"].as_str();
        (!is_right).then(|| format!("{case}: {cleaned:?}, in its language: {}", title.is_some()))
    };
    corpus.lines().filter_map(wrong).collect()
}

#[test]
fn the_corpora_of_model_outputs() {
    for (name, corpus) in [
        (
            "title-outputs",
            include_str!("../../../tests/corpus/title-outputs.jsonl"),
        ),
        (
            "title-kinds",
            include_str!("../../../tests/corpus/title-kinds.jsonl"),
        ),
    ] {
        let wrong = wrong_in(corpus);
        assert!(
            wrong.is_empty(),
            "{name}: {} wrong\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}

/// A corpus next to the project. Prints a note and returns `None` if it is missing.
fn shared(name: &str) -> Option<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let corpus = std::fs::read_to_string(path.join(name));
    if corpus.is_err() {
        eprintln!("skipped: there is no ../shared/corpus/{name}");
    }
    corpus.ok()
}

#[test]
fn the_shared_corpora_of_model_outputs() {
    for name in ["title-outputs.jsonl", "title-outputs-2.jsonl"] {
        if let Some(corpus) = shared(name) {
            let wrong = wrong_in(&corpus);
            assert!(
                wrong.is_empty(),
                "{name}: {} wrong\n{}",
                wrong.len(),
                wrong.join("\n")
            );
        }
    }
}

/// Titles written for messages, none of them a refusal, an answer or garbled.
#[test]
fn good_titles_of_a_public_set_are_kept() {
    let Some(corpus) = shared("chat-titles-dev.jsonl") else {
        return;
    };
    let mut rejected = Vec::new();
    for line in corpus.lines() {
        let pair: Value = serde_json::from_str(line).unwrap();
        let (message, title) = (
            pair["message"].as_str().unwrap(),
            pair["title"].as_str().unwrap(),
        );
        let (plain, cleaned) = (clean(title), clean_for(title, message, Limits::DEFAULT));
        if plain.is_ok() && cleaned.is_err() {
            rejected.push(format!("{title:?}: {cleaned:?}"));
        }
    }
    // Of 2,000.
    assert!(
        rejected.len() <= 2,
        "{}: {}",
        rejected.len(),
        rejected.join("\n")
    );
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
         標準ライブラリ ¦ 题目难度分析 ¦ 제목학원 ¦ C++ vs. C# ¦ What Does \"Sorry\" Mean? ¦ How to Say I'm Sorry in French ¦ \
         Untitled Goose Game Tips ¦ HTTP 404 on /login ¦ JSON Parsing in Rust ¦ Ph.D. Applications ¦ Life in the U.S. ¦ \
         Meeting at 5 p.m. ¦ E.T. ¦ Jeopardy! ¦ node: prefix imports ¦ <T> Generics in Rust ¦ React <Suspense> ¦ \
         What Is <T>? ¦ Box<T> & Rc<T> ¦ \\LaTeX Basics ¦ Escaping \\\" in Bash ¦ \\n vs. \\r\\n ¦ Regex \\d+ Explained ¦ \
         What Does &nbsp; Mean? ¦ R&D; and Sales ¦ [] == ![] in JavaScript ¦ | Operator in Bash ¦ Smile :) ¦ (A) or (B)? ¦ \
         (500) Days of Summer ¦ Τι είναι μονάδα; ¦ Poem (20 lines) ¦ Title 42 Explained ¦ Subject 101 ¦ Error 404 ¦ “Hello” vs \"Hi\" ¦ \
         “A” and \"B\" ¦ I Can't Log In to Gmail ¦ I Can't Sleep: Insomnia Tips ¦ I'm Afraid of Heights ¦ \
         Apologies in Business Emails ¦ Sorry for Your Loss Card ¦ As an AI Engineer: Career Path ¦ I Won't Back Down Lyrics ¦ \
         Es tut mir leid auf Spanisch ¦ Ich kann nicht schlafen ¦ Je ne peux pas dormir ¦ No puedo crear una cuenta ¦ \
         Я не могу уснуть ¦ 我无法登录微信 ¦ 对不起用英语怎么说 ¦ 申し訳ありませんの使い方 ¦ 죄송합니다 영어로 ¦ もちろんの使い方 ¦ \
         لا أستطيع النوم ¦ Sure Thing Song Chords ¦ Thank You for Coming Card ¦ The User Is Not Authorized Error ¦ \
         Reasoning: Deductive vs. Inductive",
    ) {
        assert_cleans(title, title);
    }
}

#[test]
fn quotes_around_the_whole_go() {
    for output in cases(
        "\"{}\" ¦ '{}' ¦ `{}` ¦ “{}” ¦ ”{}” ¦ ‘{}’ ¦ „{}“ ¦ „{}” ¦ ‚{}‘ ¦ «{}» ¦ « {} » ¦ »{}« ¦ »{}» ¦ ‹{}› ¦ \
         「{}」 ¦ 『{}』 ¦ 《{}》 ¦ 〈{}〉 ¦ 【{}】 ¦ 〝{}〟 ¦ ＂{}＂ ¦ [{}] ¦ \"“{}”\" ¦ **\"{}\"** ¦ \"**{}**\" ¦ \"\"{}\"\" ¦ \
         \"{}.\" ¦ \"{}\". ¦ ```{}``` ¦ \"'`{}`'\" ¦ 『「{}」』。 ¦ ({}) ¦ （{}） ¦ “{}\" ¦ \"{}” ¦ “{}“ ¦ ‘{}‘ ¦ ``{}'' ¦ ❛{}❜ ¦ ❮{}❯ ¦ ⟪{}⟫ ¦ 〘{}〙 ¦ ≪{}≫ ¦ ＜{}＞ ¦ \
         \\\"{}\\\" ¦ \\\"{}\\\". ¦ &quot;{}&quot; ¦ &ldquo;{}&rdquo; ¦ &#34;{}&#34; ¦ &#x22;{}&#x22; ¦ \"\"\"\n{}\n\"\"\"",
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
         शीर्षक: ¦ Tiêu đề: ¦ Judul: ¦ \"Title\" - ¦ [Title]: ¦ Suggested: ¦ My suggestion: ¦ I would suggest: ¦ Title 1: ¦ Title #1: ¦ Option 1: ¦ Title (English): ¦ Title → ¦ Title | ¦ \
         title= ¦ [Title] ¦ 【标题】 ¦ 🏷️ Title: ¦ Output: ¦ Chat name: ¦ Sure thing! Here's a title: ¦ \
         Here's a title based on the user's message: ¦ I suggest the following title: ¦ ¡Claro! Aquí tienes un título: ¦ \
         Bien sûr ! Voici un titre : ¦ Конечно! Вот название: ¦ Gerne! Hier ist ein Titel: ¦ Titelvorschlag: ¦ Betreff: ¦ \
         Här är en titel: ¦ Proponowany tytuł: ¦ Navrhovaný název: ¦ Javasolt cím: ¦ Iată un titlu: ¦ İşte bir başlık: ¦ \
         Προτεινόμενος τίτλος: ¦ العنوان المقترح: ¦ הנה כותרת: ¦ தலைப்பு: ¦ Đây là tiêu đề: ¦ Berikut judul: ¦ 当然，以下是标题： ¦ \
         这个对话的标题是： ¦ はい、タイトルはこちらです： ¦ 제목은 다음과 같습니다:",
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
    assert_cleans("How about \"Planning a Trip to Kyoto\"?", KYOTO);
    assert_cleans("タイトルは「京都旅行の計画」です。", "京都旅行の計画");
    assert_cleans("제목은 \"교토 여행\"입니다", "교토 여행");
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
         {}\n===== ¦ ---\n{}\n--- ¦ - **Title:** *{}*. ¦ ```\n{}\n``` ¦ ```text\n{}\n``` ¦ ***\n\n# {} ¦ → {} ¦ (1) {} ¦ \
         ~~~\n{}\n~~~ ¦ {} (5 words) ¦ \"{}\" (5 words) ¦ {} [24 characters] ¦ {} (5 words, 24 characters) ¦ {}（5个字）",
    ) {
        assert_cleans(&output.replace("{}", KYOTO), KYOTO);
    }
    for (output, title) in [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("Dad&#39;s Birthday", "Dad's Birthday"),
        (r#"Why \"Hello\" Fails"#, "Why \"Hello\" Fails"),
        (r"Debugging \_\_init\_\_", "Debugging __init__"),
        ("&lt;b&gt;Kyoto&lt;/b&gt;", "Kyoto"),
    ] {
        assert_cleans(output, title);
    }
    for escape in cases(
        r"Caf\u00e9 in Kyoto ¦ Trip \ud83d\uddfe Plans ¦ Planning \u0061 Trip ¦ \u4eac Kyoto Trip",
    ) {
        assert_rejects(escape, Rejection::Garbled);
    }
    assert_cleans("The `useEffect` Hook", "The useEffect Hook");
    assert_cleans("Planning **a Trip** to Kyoto", KYOTO);
    assert_cleans("**京都旅行**の計画", "京都旅行の計画");
    for left in cases(
        "**Planning a Trip ¦ Kyoto** ¦ ![x](b (c) ¦ | Kyoto | Trip | ¦ Kyoto ``` Trip ¦ \\boxed{Kyoto} ¦ \\title{Kyoto} ¦ Kyoto ###",
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
         Kyoto<script>alert(1)</script> ¦ <a href=\"x\">Kyoto ¦ <title>Kyoto ¦ <Kyoto> ¦ <T> ¦ <Answer> Kyoto ¦ Kyoto &lt;br&gt; Trip",
    ) {
        assert_rejects(left, Rejection::Markup);
    }
}

#[test]
fn preambles_go() {
    for output in cases(
        "Sure, here's a title:\n\n{} ¦ Title:\n{} ¦ **Title:**\n\n{} ¦ # Title\n\n{} ¦ 标题：\n{} ¦ \
         Here you go:\r\n\r\n\"{}\" ¦ Here is the JSON:\n```json\n{\"title\": \"{}\"}\n``` ¦ \
         Here is the JSON:\n\n{\n  \"title\": \"{}\"\n} ¦ **Here it is:**\n\n- {} ¦ Titel\n{} ¦ **Final Answer**\n\n{} ¦ \
         Here is the JSON:\n~~~json\n{\"title\": \"{}\"}\n~~~",
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
        "```json ¦ ``` ¦ ```json\n{\"title\":\"Kyoto\"} ¦ ```json\n{\"title\":\"Kyo ¦ ```\nKyoto ¦ ```json``` ¦ ~~~\nKyoto",
    ) {
        assert_rejects(cut, Rejection::CutOff);
    }
    for empty in cases(
        "{\"title\":\"\"} ¦ {\"title\":\" \"} ¦ ``` ``` ¦ {\"title\":\"\\u0000\"} ¦ ```json\n\n```",
    ) {
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
         <think>Sure:\n```json</think>\n```json\n{\"title\":\"{}\"}\n``` ¦ <seed:think>a</seed:think>{} ¦ \
         [THINKING]a[/THINKING]{} ¦ <inner_monologue>a</inner_monologue>{} ¦ <chain_of_thought>a</chain_of_thought>{} ¦ \
         &lt;think&gt;a&lt;/think&gt;{}",
    ) {
        assert_cleans(&output.replace("{}", KYOTO), KYOTO);
    }
    for open in cases(
        "<think>The user ¦ <think> ¦ <think ¦ Kyoto <think>because ¦ <thinking>a</thinking><thinking>b ¦ \
         [THINK]a ¦ <|channel|>analysis<|message|>The user ¦ <|channel|>analysis<|message|>Kyoto<|end|> ¦ \
         <th\u{200B}ink>Kyoto ¦ analysisThe user wants Kyoto ¦ \
         The user wants a trip to Kyoto ¦ Okay, the user is planning ¦ Let me think about Kyoto ¦ \
         <|thought|>Kyoto ¦ < think >a< /think >Kyoto ¦ [INST]a[/INST] Kyoto ¦ This conversation is about Kyoto ¦ \
         Let me create a title ¦ 用户想去京都 ¦ ユーザーは京都に行きたい ¦ 사용자가 교토 여행을 ¦ Der Nutzer möchte nach Kyoto ¦ \
         L'utilisateur veut aller à Kyoto ¦ El usuario quiere ir a Kioto ¦ Пользователь хочет в Киото",
    ) {
        assert_rejects(open, Rejection::Reasoning);
    }
    assert_rejects("<think>a</think>", Rejection::Empty);
}

#[test]
fn reports_of_errors_are_rejected_unless_the_message_is_about_trouble() {
    for report in cases(
        "API Error: 400 Invalid request ¦ Error: 429 Too Many Requests ¦ Internal Server Error ¦ Error code: 503 - Service Unavailable ¦ \
         upstream connect error or disconnect/reset before headers ¦ An error occurred while processing your request ¦ \
         Rate limit exceeded, please retry ¦ [ERROR] model overloaded ¦ Request timed out. ¦ 502 Bad Gateway ¦ Error 401 ¦ \
         {\"title\":\"Invalid API key\"} ¦ Title: Something went wrong ¦ 请求超时，请稍后重试 ¦ Произошла ошибка ¦ ERROR - timeout",
    ) {
        let cleaned = clean_for(
            report,
            "How do I prune an apple tree in winter?",
            Limits::DEFAULT,
        );
        assert_eq!(cleaned, Err(Rejection::Report), "{report:?}");
    }
    for (message, title) in [
        (
            "I get API Error: 401 when I call the service",
            "API Error 401 Causes",
        ),
        ("nginx says 502", "502 Bad Gateway in nginx"),
        ("My Django site crashes", "Internal Server Error in Django"),
        (
            "psql: could not reach 5432, ECONNREFUSED",
            "Connection Refused by PostgreSQL",
        ),
        (
            "Wie werfe ich in Rust eigene Fehler?",
            "Fehler: eigene Typen in Rust",
        ),
        ("How do crates define errors?", "Error Handling in Rust"),
        (
            "Explain HTTP status codes",
            "Error 404 and Other HTTP Status Codes",
        ),
        (
            "I keep being told to slow down by the GitHub API",
            "GitHub API Rate Limit Exceeded",
        ),
    ] {
        let cleaned = clean_for(title, message, Limits::DEFAULT);
        assert_eq!(
            cleaned.as_ref().map(Title::as_str),
            Ok(title),
            "{message:?}"
        );
    }
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
         Unable to generate a title ¦ Sorry ¦ Sorry! ¦ Cannot generate title ¦ Not enough context ¦ Could you clarify? ¦ \
         Dabei kann ich nicht helfen ¦ Je ne peux pas vous aider ¦ No puedo ayudarte con eso ¦ Não posso ajudar com isso ¦ \
         Non posso aiutarti ¦ Я не могу с этим помочь ¦ Nie mogę w tym pomóc ¦ Ik kan daar niet bij helpen ¦ \
         Tyvärr kan jag inte ¦ Jag kan inte hjälpa ¦ Beklager, jeg kan ikke ¦ Undskyld, jeg kan ikke ¦ Olen pahoillani ¦ \
         Omlouvám se, ale ne ¦ Sajnálom, de nem ¦ Îmi pare rău ¦ Λυπάμαι, δεν μπορώ ¦ Özür dilerim ¦ \
         للأسف لا أستطيع ¦ متأسفانه نمی\u{200C}توانم ¦ מצטער, אני לא יכול ¦ माफ़ कीजिए ¦ আমি দুঃখিত ¦ மன்னிக்கவும் ¦ \
         ขออภัย ฉันไม่สามารถ ¦ Maaf, saya tidak dapat ¦ 我無法協助 ¦ ごめんなさい ¦ それはできません ¦ 미안합니다",
    ) {
        assert_rejects(refusal, Rejection::Refusal);
    }
    for answer in cases(
        "Sure, I can help with that! ¦ Of course! Kyoto it is ¦ Hello! How can I help you today? ¦ \
         Certainly! ¦ Here is a plan for Kyoto ¦ Bien sûr ! ¦ 好的，京都旅行 ¦ もちろんです ¦ Hi there! ¦ 네, 도와드릴게요 ¦ \
         Title 1: Kyoto / Title 2: Trip ¦ Option A: Kyoto | Option B: Trip ¦ 1. Kyoto 2. Trip ¦ (1) Kyoto (2) Trip ¦ \
         \"Kyoto\" is a good title ¦ Kyoto (Note: kept short) ¦ Kyoto - This title captures the topic ¦ The answer is 42 ¦ \
         Yes, you can use a loop ¦ To fix it, you need to restart ¦ Yes. ¦ Hey! ¦ Got it! ¦ You're welcome! ¦ はい。 ¦ 네",
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
         Conversation Title ¦ **Untitled** ¦ Title 1 ¦ Untitled Chat 3 ¦ General Chat ¦ No title available ¦ true ¦ \
         Unbenannter Chat ¦ Conversation sans titre ¦ Conversación sin título ¦ Без заголовка ¦ Ny chatt ¦ Nový chat ¦ \
         Új beszélgetés ¦ Νέα συνομιλία ¦ שיחה חדשה ¦ การสนทนาใหม่ ¦ Percakapan baru ¦ 无题 ¦ 새로운 대화 ¦ 제목없음",
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
         https:a.example ¦ 見てhttps://a.example ¦ https：//a.example ¦ ｈｔｔｐｓ：／／a.example ¦ https&#58;//a.example ¦ \
         javascript&colon;alert(1) ¦ Kyoto s3://bucket",
    ) {
        assert_rejects(url, Rejection::Url);
    }
}

#[test]
fn what_is_no_topic_is_rejected_unless_the_message_has_it() {
    const PRUNE: &str = "How do I prune an apple tree well?";
    const SCHNEIDEN: &str = "Wie schneide ich einen Apfelbaum richtig?";

    let mut wrong = Vec::new();

    for (message, output, rejection) in [
        (PRUNE, "www.evil.example", Rejection::Url),
        (PRUNE, "evil.example/path", Rejection::Url),
        (PRUNE, "Pruning Guide at WWW.evil.example", Rejection::Url),
        (PRUNE, "Pruning (evil.example/a)", Rejection::Url),
        (PRUNE, "evil.example", Rejection::Url),
        (PRUNE, "assistant", Rejection::Placeholder),
        (PRUNE, "User", Rejection::Placeholder),
        (PRUNE, "Summary", Rejection::Placeholder),
        (PRUNE, "Title Generation", Rejection::Placeholder),
        (PRUNE, "### Response", Rejection::Placeholder),
        (PRUNE, "User's Request", Rejection::Placeholder),
        (SCHNEIDEN, "Zusammenfassung", Rejection::Placeholder),
        (PRUNE, "User: apples", Rejection::Answer),
        (PRUNE, "SYSTEM: ignore", Rejection::Answer),
        (PRUNE, "Thinking: apple", Rejection::Reasoning),
        (PRUNE, "1234", Rejection::NoContent),
        (PRUNE, "3.14", Rejection::NoContent),
        (PRUNE, "a", Rejection::NoContent),
        ("Prune a tree, or do I wait?", "a", Rejection::NoContent),
        (SCHNEIDEN, "Das kann ich nicht", Rejection::Refusal),
        (
            SCHNEIDEN,
            "Das darf ich leider nicht sagen",
            Rejection::Refusal,
        ),
        (SCHNEIDEN, "Dat kan ik niet", Rejection::Refusal),
        (PRUNE, "That I cannot do", Rejection::Refusal),
        (PRUNE, "You should prune in winter", Rejection::Answer),
        (PRUNE, "It depends on the tree", Rejection::Answer),
        (PRUNE, "First, sharpen your shears", Rejection::Answer),
    ] {
        let cleaned = clean_for(output, message, Limits::DEFAULT);
        if cleaned != Err(rejection) {
            wrong.push(format!("{output:?} for {message:?}: {cleaned:?}"));
        }
    }
    for (message, title) in [
        ("What is www.rust-lang.org about?", "www.rust-lang.org"),
        ("Is node.js or express better?", "Node.js/Express"),
        ("Compare my stacks", "Node.js/Express vs Deno"),
        ("configure nginx", "nginx.conf"),
        ("How do I use a server on node?", "Node.js"),
        ("Write a system prompt", "System Prompt"),
        ("How does Claude work?", "AI Chatbot"),
        ("How do people think?", "Human Reasoning"),
        ("who is the user here", "User"),
        ("Summary of Hamlet", "Summary of Hamlet"),
        (
            "Tell me about Kahneman's thinking",
            "Thinking: Fast and Slow",
        ),
        ("why user: root fails in compose", "User: root in Compose"),
        ("What happened in 1984?", "1984"),
        ("September 11", "9/11"),
        ("Pointers in C", "C"),
        ("爱是什么", "爱"),
        (
            "Why can't I sleep? Ich kann das nicht",
            "Das kann ich nicht",
        ),
        (
            "Why do people say you should floss?",
            "You Should Floss: Origins",
        ),
        ("grammar of persons", "First, Second and Third Person"),
        ("Explain the phrase it depends", "It Depends: Explained"),
        (
            "Warum schlafe ich schlecht?",
            "Warum kann ich nicht schlafen?",
        ),
    ] {
        let cleaned = clean_for(title, message, Limits::DEFAULT);
        let cleaned = cleaned.as_ref().map(Title::as_str);
        if cleaned != Ok(title) {
            wrong.push(format!("{title:?} for {message:?}: {cleaned:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn endings_go() {
    for ending in cases(
        ". ¦ ... ¦ … ¦ 。 ¦ ． ¦ ; ¦ ； ¦ , ¦ ， ¦ 、 ¦ : ¦ ： ¦  . ¦ . . . ¦ ، ¦ ۔ ¦ । ¦  - ¦  — ¦ .,;",
    ) {
        assert_cleans(&format!("{KYOTO}{ending}"), KYOTO);
    }
    assert_cleans("Life in the U.S.A..", "Life in the U.S.A.");
    assert_cleans("Reading main.rs.", "Reading main.rs");
    assert_cleans("Plan A.", "Plan A");
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

/// The offline model's titles pass the same rules.
#[test]
fn the_titles_of_the_offline_model_pass_unchanged() {
    let snapshot = include_str!(
        "../../llm/offline/title/snapshots/titlecast__llm__offline__title__tests__titles_as_a_user_reads_them.snap"
    );
    let titles: Vec<&str> = snapshot
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .collect();
    assert!(titles.len() >= 30, "{}", titles.len());
    for title in titles {
        assert_eq!(clean(title).as_ref().map(Title::as_str), Ok(title));
    }
}

#[test]
fn hostile_output_costs_little() {
    let began = std::time::Instant::now();
    for piece in cases(
        "\" ¦ “ ¦ [ ¦ <think> ¦ </think> ¦ < ¦ ` ¦ `` `  ¦ * ¦ **a ¦ _a ¦ ]( ¦ [a]( ¦ {\"title\": ¦ { ¦ [[ ¦ \
         a: ¦ :// ¦ \n ¦ -  ¦ #  ¦ >  ¦ <|a|> ¦ <a ¦ Title: ¦ \u{301} ¦ a\u{200D} ¦ م\u{200C} ¦  \u{FE0F} ¦ \
         <b> ¦ ( ¦ &amp; ¦ &# ¦ \\\"a ¦ a\\u00e9 ¦ (5 words) ¦ title= ¦ [Title] ¦ 标题： ¦ '' ¦ ~~~\n ¦ &lt;think&gt; ¦ a.b. ¦ sorry  ¦ \
         <T> ",
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

/// Strings dense in the characters that the rules examine.
fn tricky() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(cases(
        "Kyoto ¦ a ¦   ¦ Trip ¦ 京都 ¦ 1. ¦ \" ¦ ' ¦ ’ ¦ “ ¦ ” ¦ „ ¦ 「 ¦ 」 ¦ « ¦ » ¦ [ ¦ ] ¦ ` ¦ ``` ¦ * ¦ \
         ** ¦ _ ¦ ~~ ¦ # ¦ -  ¦ >  ¦ : ¦ ： ¦ Title ¦ Title: ¦ 标题 ¦ . ¦ … ¦ ? ¦ ! ¦ \n ¦ \r\n ¦ < ¦ > ¦ <b> ¦ \
         </b> ¦ <think> ¦ </think> ¦ { ¦ } ¦ {\"title\": ¦ http ¦ // ¦ javascript: ¦ \u{200B} ¦ \u{200D} ¦ \
         \u{FE0F} ¦ \u{301} ¦ 🚀 ¦ \\ ¦ | ¦ <| ¦ |> ¦ ( ¦ ) ¦ ]( ¦ I'm sorry ¦ Sure ¦ , ¦ - ¦ — ¦ json ¦ e ¦ \u{202E} ¦ \u{200F} ¦ \u{2066} ¦ \u{E0041} ¦ \
         \u{E000} ¦ \u{FEFF} ¦ \u{200C} ¦ \u{AD} ¦ \u{7} ¦ \0 ¦ \u{2028} ¦ \u{A0} ¦ می ¦ &quot; ¦ &lt; ¦ &gt; ¦ &#58; ¦ &amp; ¦ \\\" ¦ \
         \\* ¦ (5 words) ¦ <T> ¦ mailto: ¦ data:a ¦ https://a ¦ U.S. ¦ ; ¦ η ¦ “ ¦ ‘",
    ).collect::<Vec<_>>());
    proptest::collection::vec(
        prop_oneof![8 => pieces.prop_map(String::from), 1 => any::<String>()],
        0..12,
    )
    .prop_map(|pieces| pieces.concat())
}

/// Strings about as long as a title may be: in words, in characters and in code points.
fn lengthy() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{50,70}",
        "[a-z](e\u{301}\u{302}\u{303}){40,48}",
        "[a-z](👩\u{200D}🚀){38,46}",
        "[a-z]{1,4}( [a-z]{1,4}){7,12}",
    ]
}

/// Strings between marks that are removed, or almost match those.
fn wrapped() -> impl Strategy<Value = String> {
    let wraps = proptest::sample::select(
        cases(
            "\"{}\" ¦ “{}” ¦ “{}\" ¦ „{}“ ¦ «{}» ¦ »{}« ¦ 「{}」 ¦ 【{}】 ¦ `{}` ¦ ({}) ¦ [{}] ¦ **{}** ¦ *{}* ¦ ~~{}~~ ¦ \
             <b>{}</b> ¦ &quot;{}&quot; ¦ {\"title\":\"{}\"} ¦ {}  {} ¦ Title: {} ¦ {} (5 words) ¦ \"{}\". ¦ [{}](a)",
        )
        .collect::<Vec<_>>(),
    );
    let inner = prop_oneof![tricky(), "[a-z京]{1,8}( [A-Z][a-z]{1,6}){0,3}[.?]?"];
    (inner, proptest::collection::vec(wraps, 1..3)).prop_map(|(inner, wraps)| {
        wraps
            .iter()
            .fold(inner, |inner, wrap| wrap.replace("{}", &inner))
    })
}

/// The flaw of a title. Defined independently of the functions under test.
fn flaw(text: &str) -> Option<&'static str> {
    let chars: Vec<char> = text.chars().collect();
    let neighbours = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| chars.get(at));
        before.zip(chars.get(at + 1))
    };
    for (at, &c) in chars.iter().enumerate() {
        match c {
            c if c.is_control() => return Some("a control character"),
            '\u{61C}'
            | '\u{200E}'
            | '\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2066}'..='\u{2069}' => {
                return Some("a bidirectional control");
            }
            '\u{E0000}'..='\u{E007F}' => return Some("a tag"),
            '\u{AD}'
            | '\u{34F}'
            | '\u{180E}'
            | '\u{200B}'
            | '\u{2060}'..='\u{2064}'
            | '\u{FEFF}' => {
                return Some("a zero-width character");
            }
            '\u{115F}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}' => {
                return Some("a blank");
            }
            '\u{E000}'..='\u{F8FF}' | '\u{F0000}'.. => return Some("a private-use character"),
            '\u{200C}' | '\u{200D}'
                if neighbours(at).is_none_or(|(a, b)| {
                    a.is_whitespace() || b.is_whitespace() || (a.is_ascii() && b.is_ascii())
                }) =>
            {
                return Some("a joiner that joins nothing");
            }
            c if c.is_whitespace() && c != ' ' => {
                return Some("more than one line, or a wide space");
            }
            _ => {}
        }
    }
    if text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") {
        return Some("idle space");
    }
    if text.nfd().nfc().ne(text.chars()) {
        return Some("not NFC");
    }
    // A reader counts each ASCII character as one.
    let ascii = chars.iter().filter(|c| c.is_ascii()).count();
    if ascii > 60 || !(1..=60).contains(&text.graphemes(true).count()) {
        return Some("not 1 to 60 characters");
    }
    if chars.len() > 128 {
        return Some("over 128 code points");
    }
    if text.split(' ').count() > 10 {
        return Some("over 10 words");
    }
    if !chars.iter().any(|c| c.is_alphanumeric()) {
        return Some("no content");
    }
    const PAIRS: &str = "\"\" “” „“ «» »« 「」 『』 《》 【】 `` () []";
    for pair in PAIRS.split(' ') {
        let quotes: Vec<char> = pair.chars().collect();
        let inner = text
            .strip_prefix(quotes[0])
            .and_then(|inner| inner.strip_suffix(quotes[1]));
        if inner.is_some_and(|inner| !inner.contains([quotes[0], quotes[1]])) {
            return Some("outer quotes");
        }
    }
    const OPENERS: [&str; 9] = ["# ", "## ", "- ", "* ", "• ", "> ", "1. ", "1) ", "Title: "];
    const PIECES: [&str; 11] = [
        "```", "](", "</b>", "<b>", "<br", "<script", "<think", "<!--", "{\"", "\"}", "<|a|>",
    ];
    let emphasised = ["**", "~~", "`"]
        .iter()
        .any(|mark| text.len() > 4 && text.starts_with(mark) && text.ends_with(mark));
    if emphasised
        || OPENERS.iter().any(|opener| text.starts_with(opener))
        || PIECES.iter().any(|piece| text.contains(piece))
    {
        return Some("markup");
    }
    let lower = text.to_lowercase();
    let has_authority = lower
        .match_indices("://")
        .any(|(at, _)| lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric()));
    let has_scheme = ["javascript:", "data:", "mailto:", "https:"]
        .iter()
        .any(|scheme| {
            lower.match_indices(scheme).any(|(at, _)| {
                let before = lower[..at].chars().next_back();
                let after = lower[at + scheme.len()..].chars().next();
                before.is_none_or(|c| c == ' ') && after.is_some_and(|c| c.is_ascii_alphanumeric())
            })
        });
    if has_authority || has_scheme {
        return Some("a URL");
    }
    if text.ends_with(['…', '。', ',', ':', '，', '：']) {
        return Some("punctuation that ends a sentence");
    }
    // "U.S." and "p.m." end in a letter between two periods.
    if text.ends_with('.') && !matches!(chars[..chars.len() - 1], [.., '.', c] if c.is_alphabetic())
    {
        return Some("a period");
    }
    None
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
    fn what_is_accepted_is_a_title(output in prop_oneof![4 => tricky(), 2 => any::<String>(), 2 => wrapped(), 1 => lengthy()]) {
        let Ok(title) = clean(&output) else { return Ok(()) };
        let text = title.as_str();
        prop_assert_eq!(clean(text), Ok(title.clone()));
        prop_assert_eq!(flaw(text), None, "{:?} of {:?}", text, output);
    }

    #[test]
    fn decoration_goes((title, output) in decorated()) {
        let cleaned = clean(&output);
        prop_assert_eq!(cleaned.as_ref().map(Title::as_str), Ok(title.as_str()), "{:?}", output);
    }
}
