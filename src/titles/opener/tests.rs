//! Openers, and messages that only look like openers.

use proptest::prelude::*;

use super::*;

#[test]
fn openers_say_nothing() {
    #[rustfmt::skip]
    let openers = [
        "", " \n", "???", "...", "!", "👋", "🙏🏽 👨‍👩‍👧", "🇯🇵", "hi", "Hi!", "HELLO", "hello there", "hey!", "heyyy", "Hellooooo!!",
        "hi 👋", "hi :)", "hi :D", "hello <3", "yo", "thanks", "test", "Test test", "ok", "okkkk", "hellooo thereee", "Goood morning",
        "good morning", "What’s up?", "whats up",
        "hi claude", "hi mate", "Hello everyone!", "hi bro", "bonjour madam", "hello ChatGPT", "hey man", "so what",
        "can you", "hi you", "it is", "Ｈｉ", "hi\nthere",
        "Hallo", "guten Tag", "Guten Morgen!", "Grüß dich", "GRUSS", "wie geht's?", "Moin moin", "bonjour",
        "buenos días", "buenos dias", "Olá", "Buongiorno", "ciao", "Goedemorgen",
        "hoi", "hej", "God morgon", "Hei", "moi", "Cześć", "dzień dobry", "dzien dobry", "Ahoj", "dobrý den",
        "Bună ziua", "Szia", "Γεια σου", "ΚΑΛΗΜΕΡΑ", "ΓΕΙΑ ΣΑΣ", "Merhaba", "GÜNAYDIN", "NASILSIN", "Привет",
        "ПРИВЕТ!", "приветттт", "доброе утро", "Доброго дня", "مرحبا", "مرحبًا", "مرحباااا", "السلام عليكم",
        "أهلا", "اهلا", "سلام", "شلونك؟", "שלום", "בוקר טוב", "नमस्ते", "নমস্কার", "কেমন আছেন?", "Halo", "selamat pagi",
        "apa kabar?", "xin chào", "xin chao", "สวัสดีครับ", "สวัสดี", "你好", "你好！在吗？", "您好", "哈哈哈哈", "早上好", "謝謝", "好的好的",
        "こんにちは", "おはようございます", "はじめまして、よろしくお願いします。", "ありがとう！！", "もしもし？", "안녕하세요", "안녕", "ㅎㅇ", "ㅋㅋㅋㅋ",
        "감사합니다", "வணக்கம்", "გამარჯობა", "Բարեւ",
    ];
    for opener in openers {
        assert!(!has_content(opener), "{opener:?}");
    }
}

#[test]
fn three_words_say_something() {
    for message in [
        "who are you?",
        "Can you help me?",
        "are you there",
        "Hi, are you there?",
        "I have a question",
        "आप कैसे हैं?",
        "what is it",
    ] {
        assert!(has_content(message), "{message:?}");
    }
}

#[test]
fn small_talk_says_nothing() {
    for message in [
        "Hello, how are you?",
        "Thank you so much!",
        "how are you",
        "hi how are you",
        "hey there, how is it going?",
        "Hi! How are you doing today?",
        "Hi Claude, how are you today?",
        "Good morning team",
        "say hello",
        "Just say hi!",
        "reply ok",
        "Reply with OK.",
        "Salut, ça va ?",
        "Hola, ¿qué tal?",
        "Buenos días, ¿cómo estás?",
        "oi, tudo bem?",
        "Hallo zusammen, wie geht's?",
        "Здравствуйте! Как дела?",
        "hola, hello, 你好",
    ] {
        assert!(!has_content(message), "{message:?}");
    }
    for message in [
        "how are you made",
        "say hello in Japanese",
        "say hello to my team in French",
        "hi how are you, fix the flaky billing test",
        "How are things going in Ukraine?",
        "reply ok to the invoice",
        "how is it going to rain",
        "hey there Delilah",
        "hi, how are you 2",
        "thank you so much letter",
        "is it nice to meet you in Japanese",
    ] {
        assert!(has_content(message), "{message:?}");
    }
}

#[test]
fn content_says_something() {
    #[rustfmt::skip]
    let messages = [
        "Rust?", "Kyoto", "help with taxes", "help", "C++", "C", "God", "C#", "R", "2+2", "42", "天気", "bug in login", "∑", "€", "print()",
        "hi, plan a trip to Kyoto", "https://example.com", "www.example.com", "example.com", "test.rs", "test()", "{}", "#hi",
        "/start", "hello world", "hey Jude", "hi-fi", "hi 5", "ok google", "how are you feeling about Brexit", "GPT", "AI",
        "GPT Claude", "Claude?", "die", "war", "hat", "more", "man", "sea", "IT", "WHO", "US", "the WHO", "The Who", "who is IT",
        "es", "hi there I am here for you", "what is love", "how to cook", "thank you letter", "good morning poem",
        "test driven", "good night story", "morning routine", "Danke für die Steuererklärung",
        "Merci Chérie", "buenos aires", "Tschüss in anderen Sprachen", "salut les copains text", "Москва", "привет мир", "погода",
        "доброе слово", "طقس", "مرحبا بالعالم", "שלום עולם", "天气", "京都", "你好世界", "好莱坞", "早餐", "在线课程", "是非", "请假条", "不丹",
        "日本語", "元気玉", "草津", "はい、京都です", "テスト駆動", "날씨", "안녕 세상", "감사 편지", "สภาพอากาศ", "สวัสดีชาวโลก", "नमस्ते दुनिया",
        "test 1", "привет 2", "٣", "hi\n\nfn main", "Paris", "iPhone", "no smoking", "please translate", "cool jazz", "C'est la vie",
        "sure start", "Mama", "pho", "tea", "SQL", "git", "sorry business", "ELO", "bra", "bones", "Nice", "gut", "mate", "Ei", "friend", "草", "감사",
    ];
    for message in messages {
        assert!(has_content(message), "{message:?}");
    }
}

#[test]
fn a_long_message_says_something() {
    assert!(has_content(&"hi ".repeat(100_000)));
    assert!(has_content(&"!".repeat(1_000_000)));
    assert!(!has_content(&format!("hi{}", " ".repeat(100_000))));
}

#[test]
fn every_greeting_is_an_opener() {
    for (language, list) in GREETINGS {
        for phrase in list.split('|') {
            assert!(!has_content(phrase), "{language}: {phrase:?}");
        }
    }
    assert!(GREETINGS.len() >= 30);
}

#[test]
fn every_list_of_stop_words_is_there() {
    for language in STOP_WORD_LANGUAGES {
        assert!(
            stop_words::lookup(language).is_some_and(|words| words.len() > 40),
            "{language}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_message_is_judged(message in prop_oneof![
        any::<String>(),
        "(hi|hey|die|you|你好|سلام|Kyoto|[:!?. ’'\u{301}👋])( (hi|you|so|İ|ß|ㅋ|ー|👋)){0,6}",
    ]) {
        let says = has_content(&message);
        prop_assert_eq!(has_content(&format!(" {message}\n")), says);
        if message.chars().count() < MAX_CHARS && says {
            let longer = format!("{message} Kyoto");
            prop_assert!(has_content(&longer));
        }
    }

    #[test]
    fn a_digit_or_an_unknown_word_is_content(
        opener in "(hi|hello|你好|thanks|good morning)",
        content in "(Kyoto|taxes|[0-9]{1,3}|京都旅行)",
    ) {
        let message = format!("{opener} {content}");
        prop_assert!(has_content(&message));
    }
}
