//! Phrases of openers by language: greetings, thanks, assent, tests and small talk. Data only; extend it when a log
//! shows a new phrase.
//!
//! A phrase belongs here if a message of it alone has no subject in any language: `halo` does; `help`, `more` and
//! `problem` do not. Comparison ignores case, accents, Arabic and Hebrew points, punctuation and elongation, so each
//! phrase is listed once, in its usual spelling.

/// Phrases by language (ISO 639-1); `mul` for no particular language.
#[rustfmt::skip]
pub(super) const GREETINGS: &[(&str, &str)] = &[
    ("mul", "ok | okay | okey | k | kk | haha | hahaha | hehe | hihi | lol | xd | hm | hmm | mhm | uh | um | ah | oh | eh \
        | ehm | er | wow | oops | test | test test | testing | ping | asdf | asdfasdf | qwerty | bla | bla bla | \
        blah | hi | hello | hey | ciao | bye | hola"),
    ("en", "hi there | hey there | hello there | hiya | heya | helo | hallo | howdy | yo | sup | wassup | whats up | \
        what's up | what up | wazzup | greetings | salutations | good morning | good afternoon | good evening | good \
        night | good day | g'day | morning | how's everything | thanks | thank you | many thanks | thx | ty | tysm | \
        cheers | you're welcome | welcome | please | pls | plz | sorry | excuse me | pardon | yes | yeah | yep | yup \
        | no | nope | nah | sure | alright | all right | fine | great | cool | good | perfect | awesome | got it | i \
        see | right | well | goodbye | good bye | bye bye | see you | see ya | cya | later | you there | anyone \
        there | anybody there | anyone here | quick question | a question | just testing | testing testing | let's \
        start | let's go | let's begin | hello again | merry christmas | how are you | how are you doing | how're you | how r u | \
        how do you do | how have you been | how are things | how are things going | how is it going | how's it going | hows it going | \
        how is your day | how's your day | how is your day going | how's your day going | what's going on | how goes it | nice to meet you | \
        pleased to meet you | good to see you | hope you're well | hope you are well | hope you're doing well | hope you are doing well | \
        i hope you're well | i hope you are well | i hope you are doing well | thank you so much | thanks so much | thank you very much | \
        thanks a lot | say hello | say hi | say hey | say something | just say hello | just say hi | say hello to me | say ok | reply ok | \
        just reply ok | reply with ok | just reply with ok | respond with ok | answer ok | answer with ok | i'm good | i am fine | i'm fine"),
    ("de", "hallo | hallöchen | hallo zusammen | hi zusammen | moin | moin moin | servus | grüß dich | grüß gott | \
        grüezi | gruezi | gruss | grüße | guten tag | guten morgen | guten abend | gute nacht | schönen tag | morgen \
        | mahlzeit | na | naa | tach | wie geht's | wie gehts | alles gut | alles klar | alles ok | was geht | was \
        los | was gibt's | danke | danke schön | dankeschön | danke dir | danke sehr | vielen dank | besten dank | \
        herzlichen dank | bitte | bitte schön | bitteschön | entschuldigung | sorry | ja | nein | nee | jo | joa | \
        genau | super | prima | klar | tschüss | tschüs | tschau | auf wiedersehen | bis später | bis bald | jemand \
        da | eine frage | kurze frage | freut mich | frohes neues"),
    ("fr", "bonjour | bonsoir | bonne nuit | bonne journée | salut | coucou | slt | bjr | allo | ça va | enchanté | \
        enchantée | merci | merci beaucoup | merci bien | stp | svp | pardon | désolé | désolée | excusez-moi | \
        excuse-moi | oui | ouais | non | d'accord | très bien | bien | parfait | super | au revoir | à bientôt | à \
        plus | t'es là | une question | petite question"),
    ("es", "buenas | buenos días | buen día | buenas tardes | buenas noches | muy buenas | saludos | hola hola | holi | \
        holis | qué tal | cómo estás | cómo está | cómo están | cómo va | cómo vas | qué pasa | qué hay | qué onda | \
        qué haces | todo bien | mucho gusto | encantado | encantada | gracias | muchas gracias | mil gracias | de \
        nada | por favor | porfa | perdón | disculpa | disculpe | lo siento | sí | si | no | vale | bueno | bien | \
        muy bien | perfecto | claro | adiós | hasta luego | hasta pronto | nos vemos | chao | chau | estás ahí | hay \
        alguien | quién eres | puedes ayudarme | necesito ayuda | una pregunta | una duda | oye | jaja | jajaja"),
    ("pt", "olá | oi | oie | oii | bom dia | boa tarde | boa noite | tudo bem | tudo bom | como vai | como está | como \
        estás | como estão | e aí | muito prazer | obrigado | obrigada | muito obrigado | muito obrigada | brigado | \
        valeu | de nada | por favor | desculpa | desculpe | sim | não | tá | tá bom | certo | ótimo | bem | muito \
        bem | tchau | adeus | até logo | até mais | está aí | alguém aí | uma pergunta | uma dúvida | kkk | kkkk"),
    ("it", "salve | buongiorno | buon giorno | buonasera | buona sera | buonanotte | buona notte | buon pomeriggio | \
        buondì | ciao ciao | come stai | come sta | come state | come va | tutto bene | tutto ok | che fai | piacere \
        | molto piacere | grazie | grazie mille | molte grazie | tante grazie | prego | per favore | per piacere | \
        scusa | scusi | mi dispiace | sì | no | va bene | bene | molto bene | perfetto | certo | arrivederci | a \
        presto | a dopo | ci sei | c'è qualcuno | chi sei | puoi aiutarmi | una domanda | ehi | ehilà"),
    ("nl", "hallo | hoi | hoi hoi | hee | dag | goedemorgen | goede morgen | goedemiddag | goede middag | goedenavond | \
        goedendag | goeden dag | goedenacht | welterusten | hallo daar | alles goed | aangenaam | bedankt | dank je \
        | dankje | dankjewel | dank u | hartelijk dank | graag gedaan | alstublieft | alsjeblieft | aub | sorry | ja \
        | nee | oké | goed | prima | leuk | tot ziens | doei | doeg | tot later | een vraag"),
    ("sv", "hej | hejsan | hej hej | hallå | tjena | tja | tjenare | god morgon | godmorgon | god dag | god kväll | god \
        natt | god eftermiddag | läget | tack | tusen tack | tack tack | varsågod | snälla | ursäkta | förlåt | ja | \
        jo | nej | okej | hej då | hejdå | vi ses | en fråga"),
    ("da", "hej | hejsa | hallo | goddag | god dag | godmorgen | god morgen | godaften | god aften | godnat | god \
        eftermiddag | hvad så | tak | mange tak | tusind tak | selv tak | velbekomme | undskyld | ja | jo | nej | \
        fint | godt | farvel | vi ses | hej hej | et spørgsmål"),
    ("no", "hei | hei hei | heisann | hallo | halla | god dag | god morgen | god kveld | god natt | god ettermiddag | \
        morn | hva skjer | takk | tusen takk | mange takk | unnskyld | beklager | ja | jo | nei | greit | fint | ha \
        det | vi ses | et spørsmål"),
    ("fi", "hei | moi | moikka | moro | terve | heippa | hei hei | huomenta | hyvää huomenta | hyvää päivää | päivää | \
        hyvää iltaa | hyvää yötä | mitä kuuluu | miten menee | kuinka voit | hauska tavata | kiitos | kiitti | \
        kiitoksia | paljon kiitoksia | kiitos paljon | ole hyvä | anteeksi | kyllä | joo | juu | hyvä | selvä | \
        näkemiin | nähdään | oletko siellä | kuka olet | mitä osaat | voitko auttaa | tarvitsen apua"),
    ("pl", "cześć | hej | hejka | siema | siemka | witam | witaj | dzień dobry | dobry wieczór | dobranoc | dzien dobry \
        | halo | co słychać | co tam | jak leci | miło mi | dziękuję | dzięki | dziękuję bardzo | bardzo dziękuję | \
        wielkie dzięki | proszę | przepraszam | tak | nie | dobrze | dobra | super | do widzenia | na razie | pa | \
        pa pa | jesteś tam | kim jesteś | co potrafisz | pomożesz mi | potrzebuję pomocy | mam pytanie"),
    ("cs", "ahoj | čau | čauko | nazdar | zdravím | zdar | dobrý den | dobré ráno | dobré odpoledne | dobrý večer | \
        dobrou noc | těší mě | děkuji | děkuju | díky | dík | mockrát děkuji | děkuji moc | prosím | promiňte | \
        promiň | ano | jo | ne | dobře | dobrá | super | na shledanou | nashledanou | měj se | jsi tam | kdo jsi | \
        co umíš | potřebuji pomoc | mám otázku | mám dotaz"),
    ("sk", "ahoj | čau | dobrý deň | dobré ráno | dobrý večer | dobrú noc | ďakujem | vďaka | prosím | áno | nie | \
        dovidenia | mám otázku"),
    ("ro", "bună | salut | salutare | servus | noroc | bună ziua | bună dimineața | bună seara | noapte bună | neața | \
        ce faci | cum ești | cum merge | încântat | încântată | mulțumesc | mersi | mulțumesc mult | mulțumesc \
        frumos | mulțam | cu plăcere | te rog | vă rog | scuze | da | nu | bine | foarte bine | la revedere | pa | \
        ești acolo | cine ești | o întrebare"),
    ("hu", "szia | sziasztok | szió | helló | halló | üdv | üdvözlöm | üdvözletem | jó napot | jó reggelt | jó estét | \
        jó éjszakát | jó éjt | hogy vagy | hogy van | mi újság | mizu | örvendek | köszönöm | köszi | kösz | \
        köszönöm szépen | nagyon köszönöm | szívesen | kérem | kérlek | bocsánat | elnézést | igen | nem | jó | jól \
        | rendben | viszlát | viszontlátásra | ott vagy | ki vagy | hogy hívnak | mit tudsz | tudsz segíteni"),
    ("el", "γεια | γεια σου | γεια σας | γειά | χαίρετε | χαιρετώ | καλημέρα | καλησπέρα | καληνύχτα | καλό απόγευμα | \
        τι κάνεις | τι κάνετε | πώς είσαι | πώς είστε | πως πάει | τι νέα | χάρηκα | ευχαριστώ | ευχαριστώ πολύ | \
        παρακαλώ | συγγνώμη | με συγχωρείτε | ναι | όχι | εντάξει | καλά | ωραία | αντίο | τα λέμε | είσαι εκεί | \
        ποιος είσαι | ποια είσαι | χρειάζομαι βοήθεια | μια ερώτηση | geia sou | kalimera | kalispera | efxaristo"),
    ("tr", "merhaba | merhabalar | selam | selamlar | slm | mrb | selamün aleyküm | selamun aleyküm | aleyküm selam | \
        günaydın | iyi günler | iyi akşamlar | iyi geceler | tünaydın | nasılsın | nasılsınız | naber | n'aber | ne \
        haber | nasıl gidiyor | memnun oldum | teşekkürler | teşekkür ederim | çok teşekkürler | sağ ol | sağol | \
        sağ olun | eyvallah | rica ederim | lütfen | pardon | özür dilerim | evet | hayır | tamam | peki | iyi | \
        güzel | hoşça kal | hoşçakal | görüşürüz | orada mısın | sen kimsin | kimsin | adın ne | neler yapabilirsin \
        | ne yapabilirsin"),
    ("ru", "привет | приветик | приветствую | здравствуй | здравствуйте | здрасьте | добрый день | добрый вечер | доброе \
        утро | доброй ночи | спокойной ночи | доброго дня | всем привет | здорово | хай | хэй | хелло | салют | ку | \
        как дела | как ты | как поживаешь | как поживаете | как жизнь | что нового | что делаешь | приятно \
        познакомиться | спасибо | спасибо большое | большое спасибо | благодарю | пожалуйста | извини | извините | \
        простите | да | нет | ага | угу | ок | окей | хорошо | ладно | понятно | отлично | пока | до свидания | до \
        встречи | ты тут | ты здесь | ты там | есть кто | кто ты | ты кто | можешь помочь | помоги мне | нужна \
        помощь | есть вопрос | тест | проверка | это тест | алло | privet | poka"),
    ("uk", "привіт | вітаю | вітання | добрий день | доброго дня | добрий вечір | доброго вечора | доброго ранку | \
        добрий ранок | на добраніч | добраніч | здоровенькі були | як справи | як ти | що нового | приємно \
        познайомитися | дякую | дуже дякую | щиро дякую | будь ласка | прошу | вибач | вибачте | перепрошую | так | \
        ні | добре | гаразд | чудово | бувай | до побачення | ти тут | є хто | хто ти | можеш допомогти | маю \
        питання | є питання | слава україні"),
    ("bg", "здравей | здравейте | здрасти | добър ден | добро утро | добър вечер | лека нощ | как си | как сте | \
        благодаря | мерси | моля | да | не | довиждане | имам въпрос"),
    ("sr", "zdravo | ćao | ćao svima | bok | dobar dan | dobro jutro | dobra večer | dobro veče | laku noć | kako si | \
        kako ste | šta ima | što ima | hvala | hvala puno | hvala lijepo | molim | da | ne | dobro | doviđenja | \
        imam pitanje | здраво | ћао | добар дан | добро јутро | добро вече | како си | хвала | молим"),
    ("ar", "مرحبا | مرحبا بك | أهلا | أهلا وسهلا | أهلين | هلا | هلا والله | هاي | هالو | السلام عليكم | سلام عليكم | \
        سلام | وعليكم السلام | صباح الخير | صباح النور | مساء الخير | مساء النور | كيف حالك | كيف حالكم | كيف الحال \
        | كيفك | شلونك | ازيك | إزيك | عامل ايه | شو أخبارك | كيف أخبارك | ما أخبارك | تحياتي | تشرفنا | شكرا | شكرا \
        جزيلا | شكرا لك | شكرا جدا | مشكور | عفوا | من فضلك | لو سمحت | آسف | نعم | أيوه | لا | حسنا | تمام | طيب | \
        جيد | مع السلامة | وداعا | إلى اللقاء | من أنت | ما اسمك | ممكن مساعدة | أحتاج مساعدة | لدي سؤال | عندي سؤال \
        | ممكن سؤال | اختبار | تجربة | ههه"),
    ("fa", "سلام | سلام علیکم | درود | سلام خوبی | سلام خوبید | صبح بخیر | ظهر بخیر | عصر بخیر | شب بخیر | وقت بخیر | \
        روز بخیر | حالت چطوره | چطوری | چطورید | خوبی | خوبید | چه خبر | خسته نباشید | خوشبختم | ممنون | ممنونم | \
        مرسی | متشکرم | تشکر | سپاس | خیلی ممنون | خواهش میکنم | لطفا | ببخشید | بله | آره | نه | باشه | خوب | خوبه \
        | خداحافظ | بدرود | هستی | کسی هست | کی هستی | اسمت چیه | کمک میخوام | سوال دارم | تست"),
    ("ur", "السلام علیکم | آداب | کیسے ہو | کیسے ہیں | شکریہ | بہت شکریہ | جی | ہاں | نہیں | براہ کرم | خدا حافظ"),
    ("he", "שלום | שלום לך | שלום לכם | היי | הי | הלו | אהלן | בוקר טוב | צהריים טובים | ערב טוב | לילה טוב | מה שלומך \
        | מה שלומכם | מה נשמע | מה קורה | מה המצב | מה העניינים | נעים מאוד | נעים להכיר | תודה | תודה רבה | המון \
        תודה | בבקשה | סליחה | כן | לא | בסדר | אוקיי | אוקי | טוב | מעולה | יופי | להתראות | ביי | אתה שם | את שם | \
        יש מישהו | מי אתה | מי את | שאלה | בדיקה | טסט"),
    ("hi", "नमस्ते | नमस्कार | प्रणाम | हेलो | हैलो | हाय | सुप्रभात | शुभ प्रभात | शुभ संध्या | शुभ रात्रि | राम राम | \
        कैसे हो | कैसे हैं | कैसी हो | धन्यवाद | बहुत धन्यवाद | शुक्रिया | कृपया | माफ़ कीजिए | माफ कीजिए | हाँ | \
        हां | जी | जी हाँ | नहीं | ठीक है | ठीक | अच्छा | अलविदा | फिर मिलेंगे | namaste | namaskar | kaise ho | \
        kaise hain | dhanyavad | shukriya | haan | nahi | theek hai | thik hai | accha"),
    ("bn", "নমস্কার | হ্যালো | হাই | আসসালামু আলাইকুম | সালাম | সুপ্রভাত | শুভ সকাল | শুভ সন্ধ্যা | শুভ রাত্রি | শুভ \
        অপরাহ্ন | কেমন আছো | কেমন আছ | কেমন আছেন | কি খবর | কী খবর | ধন্যবাদ | অনেক ধন্যবাদ | দয়া করে | দুঃখিত | \
        হ্যাঁ | জি | না | ঠিক আছে | আচ্ছা | ভালো | বিদায় | আপনি কে | তুমি কে"),
    ("ta", "வணக்கம் | ஹலோ | காலை வணக்கம் | மாலை வணக்கம் | எப்படி இருக்கிறீர்கள் | நன்றி | மிக்க நன்றி"),
    ("te", "నమస్కారం | నమస్తే | హలో | శుభోదయం | ఎలా ఉన్నారు | ధన్యవాదాలు"),
    ("id", "halo | hai | hallo | helo | assalamualaikum | assalamu'alaikum | assalamu alaikum | selamat pagi | selamat \
        siang | selamat sore | selamat malam | pagi | siang | sore | malam | apa kabar | gimana kabarnya | bagaimana \
        kabarmu | salam | salam kenal | permisi | terima kasih | terimakasih | makasih | sama sama | sama-sama | \
        tolong | maaf | ya | iya | tidak | nggak | baik | baiklah | oke | bagus | siap | sampai jumpa | selamat \
        tinggal | dadah | kamu siapa | siapa kamu | siapa anda | siapa namamu | mau tanya | tes | tes tes | wkwk | \
        wkwkwk"),
    ("ms", "hai | helo | selamat petang | apa khabar | terima kasih | tolong"),
    ("tl", "kumusta | kamusta | kumusta ka | kamusta ka | magandang umaga | magandang hapon | magandang gabi | magandang \
        araw | salamat | maraming salamat | salamat po | oo | hindi po | opo"),
    ("vi", "xin chào | chào | chào bạn | chào em | chào anh | chào chị | alo | a lô | hế lô | khỏe không | cảm ơn | cám \
        ơn | làm ơn | vui lòng | xin lỗi | vâng | dạ | ừ | không | được | tốt | tạm biệt"),
    ("th", "สวัสดี | สวัสดีครับ | สวัสดีค่ะ | สวัสดีคะ | สวัสดีจ้า | หวัดดี | หวัดดีครับ | หวัดดีค่ะ | ดี | ดีครับ | \
        ดีค่ะ | ดีจ้า | ฮัลโหล | ฮาย | เฮลโล | อรุณสวัสดิ์ | ราตรีสวัสดิ์ | สบายดีไหม | สบายดีมั้ย | สบายดีไหมครับ | \
        สบายดีไหมคะ | เป็นยังไงบ้าง | เป็นไงบ้าง | ขอบคุณ | ขอบคุณครับ | ขอบคุณค่ะ | ขอบคุณมาก | ขอบคุณมากครับ | \
        ขอบคุณมากค่ะ | ขอโทษ | ขอโทษครับ | ขอโทษค่ะ | ใช่ | ไม่ | ครับ | ค่ะ | คะ | โอเค | ลาก่อน | อยู่ไหม | \
        มีใครอยู่ไหม | คุณคือใคร | คุณชื่ออะไร | ทำอะไรได้บ้าง | ช่วยหน่อย | ช่วยหน่อยครับ | ช่วยหน่อยค่ะ | \
        ขอถามหน่อย | มีคำถาม | ทดสอบ"),
    ("zh", "你好 | 您好 | 你好啊 | 你好呀 | 妳好 | 大家好 | 嗨 | 哈喽 | 哈啰 | 哈囉 | 嘿 | 喂 | 早 | 早安 | 早上好 | 上午好 | 中午好 | 下午好 | 晚上好 | 晚安 | 你好吗 \
        | 你好嗎 | 您好吗 | 您好嗎 | 最近好吗 | 最近怎么样 | 你怎么样 | 最近如何 | 吃了吗 | 在吗 | 在嗎 | 在么 | 在不在 | 你在吗 | 你在嗎 | 有人吗 | 有人嗎 | 有人在吗 | \
        很高兴认识你 | 很高興認識你 | 谢谢 | 謝謝 | 谢谢你 | 謝謝你 | 谢谢您 | 多谢 | 多謝 | 非常感谢 | 感谢 | 感謝 | 不客气 | 请 | 請 | 请问 | 請問 | 请问一下 | 问一下 \
        | 麻烦 | 麻烦你 | 不好意思 | 打扰了 | 对不起 | 對不起 | 抱歉 | 是 | 是的 | 不 | 不是 | 好 | 好的 | 好吧 | 行 | 可以 | 对 | 嗯 | 嗯嗯 | 哦 | 啊 | 哈 | \
        呵 | 嘻 | 没问题 | 再见 | 再見 | 拜拜 | 你是谁 | 你是誰 | 你叫什么 | 你叫什么名字 | 你叫什麼名字 | 你会什么 | 你能做什么 | 你可以做什么 | 你能帮我吗 | 能帮我吗 | \
        可以帮我吗 | 能帮我一下吗 | 帮帮我 | 我需要帮助 | 我有一个问题 | 我有个问题 | 有个问题 | 请教一下 | 测试 | 測試 | 测试一下 | 新年快乐 | ni hao | nihao | nin \
        hao | xie xie"),
    ("ja", "こんにちは | こんにちわ | こんばんは | こんばんわ | おはよう | おはようございます | おやすみ | おやすみなさい | はじめまして | 初めまして | よろしく | よろしくお願いします | \
        宜しくお願いします | よろしくお願いいたします | よろしくお願い致します | どうぞよろしくお願いします | やあ | やほ | やっほー | おっす | おす | ハロー | ヘイ | ハイ | どうも | \
        もしもし | 元気 | 元気ですか | お元気ですか | 元気？ | 調子はどう | 調子はどうですか | 最近どう | お疲れ様 | お疲れ様です | おつかれさま | おつかれさまです | お疲れさまです | \
        お世話になります | お世話になっております | いつもお世話になっております | ありがとう | ありがとうございます | ありがとうございました | どうもありがとう | どうもありがとうございます | \
        サンキュー | すみません | すいません | ごめん | ごめんなさい | 失礼します | お願いします | はい | うん | ええ | いいえ | いえ | いや | オッケー | 了解 | 了解です | \
        了解しました | わかりました | 分かりました | なるほど | そうですか | さようなら | さよなら | じゃあね | またね | バイバイ | いますか | 誰かいますか | あなたは誰 | \
        あなたは誰ですか | 君は誰 | お名前は | 名前は | 何ができますか | 何ができるの | 手伝ってください | 手伝ってくれますか | 助けて | 助けてください | 質問があります | 質問です | \
        質問してもいいですか | 聞きたいことがあります | ちょっといいですか | テスト | テストです | あの | あのー | えっと | ねえ | 笑 | konnichiwa | ohayo | arigato \
        | arigatou"),
    ("ko", "안녕 | 안녕하세요 | 안녕하십니까 | 안뇽 | 하이 | 헬로 | 헬로우 | 여보세요 | 반가워 | 반가워요 | 반갑습니다 | 만나서 반가워요 | 만나서 반갑습니다 | 처음 뵙겠습니다 | 좋은 \
        아침 | 좋은 아침입니다 | 좋은 아침이에요 | 좋은 하루 | 좋은 저녁 | 굿모닝 | 안녕히 주무세요 | 잘 자 | 잘 지내 | 잘 지내요 | 잘 지내세요 | 잘 지냈어 | 잘 지냈어요 | \
        어떻게 지내 | 어떻게 지내세요 | 어떻게 지내요 | 뭐해 | 뭐해요 | 고마워 | 고마워요 | 고맙습니다 | 감사해요 | 감사합니다 | 땡큐 | 수고하세요 | 잘 부탁드립니다 | 부탁해요 | \
        부탁드립니다 | 미안 | 미안해 | 미안해요 | 미안합니다 | 죄송합니다 | 죄송해요 | 실례합니다 | 저기요 | 저기 | 네 | 예 | 응 | 아니 | 아니요 | 아니오 | 알겠습니다 | \
        알겠어요 | 좋아 | 좋아요 | 오케이 | 잘 가 | 안녕히 가세요 | 안녕히 계세요 | 바이 | 또 봐 | 있어요 | 거기 있어요 | 누구 있어요 | 누구세요 | 누구야 | 넌 누구야 | 너는 \
        누구야 | 당신은 누구입니까 | 이름이 뭐야 | 이름이 뭐예요 | 도와줘 | 도와주세요 | 질문 있어요 | 질문이 있어요 | 질문이 있습니다 | 질문 있습니다 | 테스트 | ㅎㅇ | ㅎㅇㅎㅇ | \
        ㄱㅅ | ㅇㅇ | ㄴㄴ | ㅋ | ㅎ | ㅋㅋ | ㅎㅎ | annyeong | annyeonghaseyo"),
    ("sw", "habari | habari yako | habari gani | hujambo | jambo | mambo vipi | shikamoo | salamu | asante | asante sana \
        | tafadhali | ndiyo | hapana | kwaheri"),
    ("ca", "bon dia | bona tarda | bona nit | com estàs | què tal | gràcies | moltes gràcies | adéu"),
    ("et", "tere | tere hommikust | tere päevast | tere õhtust | kuidas läheb | aitäh | palun | nägemist"),
    ("lv", "sveiki | sveiks | čau | labdien | labrīt | labvakar | kā iet | paldies | lūdzu"),
    ("lt", "labas | sveiki | sveikas | laba diena | labas rytas | labas vakaras | kaip sekasi | ačiū | prašau"),
    ("ka", "გამარჯობა | გაუმარჯოს | დილა მშვიდობისა | როგორ ხარ | როგორ ხართ | მადლობა | დიახ | კი | არა"),
    ("hy", "բարեւ | բարև | բարև ձեզ | ողջույն | բարի լույս | ինչպես ես | ինչպես եք | շնորհակալություն | մերսի"),
    ("sq", "përshëndetje | tungjatjeta | mirëdita | mirëmëngjes | mirëmbrëma | si je | si jeni | faleminderit"),
    ("az", "salam | necəsən | necəsiniz | sabahınız xeyir | təşəkkür edirəm | sağ ol"),
    ("kk", "сәлем | сәлеметсіз бе | қалайсың | қалыңыз қалай | рахмет"),
    ("af", "goeie môre | goeie more | goeie dag | goeie naand | baie dankie | dankie | asseblief"),
];

/// Words that may follow a greeting. Alone they are content: "GPT?", "AI".
pub(super) const ADDRESSEES: &str = "ai assistant bot chatbot chatgpt gpt claude copilot gemini llama grok deepseek mistral siri alexa \
    robot team guys folks people man there again now today \
    dear everyone all friend friends buddy mate bro dude sir madam";

/// Emoticons in lower case; their letters, digits and signs are not content.
pub(super) const EMOTICONS: &str = ":d ;d =d xd :p ;p =p :-p :-d :3 <3 </3 :o :-o :0 ^^ ^_^ ^-^ >_< -_- =) =] :) :( :/ :-/ t_t o_o \
    o/ \\o uwu owo qwq orz m(__)m";
