//! What people say before they say anything: greetings, thanks, assent, tests and small talk, by language. Data, to be
//! extended when a log shows a new one; the rules are the parent's.
//!
//! A phrase belongs here if a message that is nothing else has no subject in any language. So `halo` does, and `help`,
//! `more` or `problem` do not. Case, accents, Arabic and Hebrew points, punctuation and elongation are ignored when a
//! phrase is compared, so each stands here once, in its usual spelling.

/// Phrases by language (ISO 639-1), `mul` for those of no language in particular.
#[rustfmt::skip]
pub(super) const GREETINGS: &[(&str, &str)] = &[
    ("mul", "ok | okay | okey | k | kk | haha | hahaha | hehe | hihi | lol | xd | hm | hmm | mhm | uh | um | ah | oh | eh | \
        ehm | er | wow | oops | test | test test | testing | ping | asdf | asdfasdf | qwerty | bla | bla bla | \
        blah | hi | hello | hey | ciao | bye | hola"),
    ("en", "hi there | hey there | hello there | hiya | heya | helo | hallo | howdy | yo | sup | wassup | whats up | \
        what's up | what up | wazzup | greetings | salutations | good morning | good afternoon | good evening | \
        good night | good day | g'day | morning | how are you | how are you doing | how are you today | \
        how are you doing today | how are u | how r u | how's it going | hows it going | how is it going | how do you do | \
        how have you been | how's your day | how is your day | how's your day going | how are things | how's everything | \
        i hope you are well | i hope you're well | hope you are well | hope you're doing well | nice to meet you | \
        pleased to meet you | thanks | thank you | thank you very much | thank you so much | thanks a lot | many thanks | \
        thx | ty | tysm | cheers | you're welcome | welcome | please | pls | plz | sorry | excuse me | pardon | yes | yeah | \
        yep | yup | no | nope | nah | sure | alright | all right | fine | great | cool | good | perfect | awesome | \
        got it | i see | right | well | goodbye | good bye | bye bye | see you | see ya | cya | later | see you later | \
        are you there | you there | anyone there | anybody there | is anyone there | is anybody there | anyone here | \
        are you here | are you real | are you a bot | are you human | who are you | what are you | what's your name | \
        what is your name | what can you do | what do you do | can you help | can you help me | could you help me | \
        please help me | will you help me | i need help | i need some help | i need your help | i have a question | \
        i have a quick question | i've got a question | quick question | a question | can i ask you something | \
        can i ask a question | can i ask you a question | may i ask a question | does this work | is this working | \
        does it work | is this thing on | just testing | this is a test | just a test | testing testing | let's start | \
        let's go | let's begin | \
        long time no see | hello again | merry christmas | happy new year"),
    ("de", "hallo | hallöchen | hallo zusammen | hi zusammen | moin | moin moin | servus | grüß dich | grüß gott | grüezi | gruezi | \
        gruss | grüße | guten tag | guten morgen | guten abend | gute nacht | schönen guten tag | schönen guten morgen | \
        schönen tag | morgen | mahlzeit | na | naa | tach | wie geht's | wie gehts | wie geht es dir | wie geht's dir | \
        wie gehts dir | wie geht es ihnen | wie geht's ihnen | alles gut | alles klar | alles ok | was geht | was geht ab | \
        was los | was gibt's | danke | danke schön | dankeschön | danke dir | danke sehr | vielen dank | besten dank | \
        herzlichen dank | bitte | bitte schön | bitteschön | entschuldigung | sorry | ja | nein | nee | jo | joa | \
        genau | super | prima | klar | tschüss | tschüs | tschau | auf wiedersehen | bis später | bis bald | \
        bist du da | bist du da | jemand da | wer bist du | wie heißt du | was kannst du | kannst du mir helfen | \
        können sie mir helfen | kannst du helfen | ich brauche hilfe | ich habe eine frage | ich hab eine frage | \
        ich hätte eine frage | eine frage | kurze frage | darf ich dich etwas fragen | freut mich | frohes neues | \
        das ist ein test | nur ein test"),
    ("fr", "bonjour | bonsoir | bonne nuit | bonne journée | bonjour à tous | bonjour à toi | salut | coucou | slt | bjr | \
        allo | ça va | comment ça va | comment vas-tu | comment vas tu | comment tu vas | comment allez-vous | \
        comment allez vous | tu vas bien | vous allez bien | quoi de neuf | enchanté | enchantée | merci | \
        merci beaucoup | merci bien | un grand merci | s'il te plaît | s'il vous plaît | stp | svp | pardon | désolé | \
        désolée | excusez-moi | excuse-moi | oui | ouais | non | d'accord | très bien | bien | parfait | super | \
        au revoir | à bientôt | à plus | es-tu là | tu es là | t'es là | il y a quelqu'un | qui es-tu | qui es tu | \
        qui êtes-vous | que peux-tu faire | peux-tu m'aider | pouvez-vous m'aider | tu peux m'aider | \
        j'ai besoin d'aide | j'ai une question | une question | petite question | c'est un test"),
    ("es", "buenas | buenos días | buen día | buenas tardes | buenas noches | muy buenas | muy buenos días | saludos | \
        hola a todos | hola hola | holi | holis | qué tal | hola qué tal | cómo estás | cómo está | cómo están | \
        cómo estás hoy | cómo te va | cómo va | cómo vas | qué pasa | qué hay | qué onda | qué haces | todo bien | \
        mucho gusto | encantado | encantada | gracias | muchas gracias | mil gracias | de nada | por favor | porfa | \
        perdón | disculpa | disculpe | lo siento | sí | si | no | vale | bueno | bien | muy bien | perfecto | claro | \
        adiós | hasta luego | hasta pronto | nos vemos | chao | chau | estás ahí | hay alguien | hay alguien ahí | \
        quién eres | cómo te llamas | qué puedes hacer | puedes ayudarme | me puedes ayudar | necesito ayuda | \
        tengo una pregunta | una pregunta | tengo una duda | una duda | oye | jaja | jajaja | esto es una prueba"),
    ("pt", "olá | oi | oie | oii | bom dia | boa tarde | boa noite | tudo bem | tudo bom | olá tudo bem | oi tudo bem | \
        tudo bem com você | como vai | como vai você | como você está | como está | como estás | como estão | e aí | \
        muito prazer | obrigado | obrigada | muito obrigado | muito obrigada | brigado | valeu | \
        de nada | por favor | desculpa | desculpe | sim | não | tá | tá bom | certo | ótimo | bem | muito bem | tchau | \
        adeus | até logo | até mais | está aí | tem alguém aí | alguém aí | quem é você | qual é o seu nome | \
        o que você faz | o que você pode fazer | pode me ajudar | você pode me ajudar | podes ajudar-me | \
        preciso de ajuda | tenho uma pergunta | uma pergunta | tenho uma dúvida | uma dúvida | kkk | kkkk"),
    ("it", "salve | buongiorno | buon giorno | buonasera | buona sera | buonanotte | buona notte | buon pomeriggio | \
        buondì | ciao a tutti | ciao ciao | come stai | come sta | come state | come va | tutto bene | tutto ok | \
        che fai | che si dice | piacere | molto piacere | grazie | grazie mille | molte grazie | tante grazie | prego | \
        per favore | per piacere | scusa | scusi | mi dispiace | sì | no | va bene | bene | molto bene | perfetto | \
        certo | arrivederci | a presto | a dopo | ci sei | c'è qualcuno | chi sei | come ti chiami | cosa sai fare | \
        cosa puoi fare | puoi aiutarmi | mi puoi aiutare | ho bisogno di aiuto | ho una domanda | una domanda | ehi | ehilà"),
    ("nl", "hallo | hoi | hoi hoi | hee | dag | goedemorgen | goede morgen | goedemiddag | goede middag | goedenavond | \
        goedendag | goeden dag | goedenacht | welterusten | hallo daar | hoe gaat het | hoe gaat het met je | \
        hoe gaat het met u | hoe gaat 't | hoe is het | alles goed | alles goed met je | wat is er | aangenaam | bedankt | \
        dank je | dankje | dank je wel | dankjewel | dank u | dank u wel | hartelijk dank | graag gedaan | alstublieft | \
        alsjeblieft | aub | sorry | ja | nee | oké | goed | prima | leuk | tot ziens | doei | doeg | tot later | ben je daar | \
        is daar iemand | wie ben je | hoe heet je | wat kan je | wat kun je | kun je me helpen | kan je me helpen | \
        kunt u mij helpen | ik heb hulp nodig | ik heb een vraag | een vraag"),
    ("sv", "hej | hejsan | hej hej | hallå | tjena | tja | tjenare | god morgon | godmorgon | god dag | god kväll | \
        god natt | god eftermiddag | hej på dig | hur mår du | hur är det | hur går det | läget | hur är läget | \
        trevligt att träffas | tack | tack så mycket | tusen tack | tack tack | varsågod | snälla | ursäkta | förlåt | \
        ja | jo | nej | okej | hej då | hejdå | vi ses | är du där | är det någon där | vem är du | vad heter du | \
        vad kan du göra | kan du hjälpa mig | jag behöver hjälp | jag har en fråga | en fråga"),
    ("da", "hej | hejsa | hejsa | hallo | goddag | god dag | godmorgen | god morgen | godaften | god aften | godnat | \
        god eftermiddag | hvordan går det | hvordan har du det | hvad så | hvad laver du | tak | mange tak | tusind tak | \
        tak skal du have | selv tak | velbekomme | undskyld | ja | jo | nej | fint | godt | farvel | vi ses | hej hej | \
        er du der | er der nogen | hvem er du | hvad hedder du | hvad kan du | kan du hjælpe mig | jeg har brug for hjælp | \
        jeg har et spørgsmål | et spørgsmål"),
    ("no", "hei | hei hei | heisann | hallo | halla | god dag | god morgen | god kveld | god natt | god ettermiddag | morn | \
        hvordan går det | hvordan har du det | hva skjer | hei på deg | takk | tusen takk | mange takk | takk skal du ha | \
        vær så snill | unnskyld | beklager | ja | jo | nei | greit | fint | ha det | ha det bra | vi ses | \
        er du der | er det noen der | hvem er du | hva heter du | hva kan du | kan du hjelpe meg | jeg trenger hjelp | \
        jeg har et spørsmål | et spørsmål"),
    ("fi", "hei | moi | moikka | moro | terve | heippa | hei hei | huomenta | hyvää huomenta | hyvää päivää | päivää | \
        hyvää iltaa | hyvää yötä | mitä kuuluu | miten menee | mitä sinulle kuuluu | kuinka voit | hauska tavata | \
        kiitos | kiitti | kiitoksia | paljon kiitoksia | kiitos paljon | ole hyvä | anteeksi | kyllä | joo | juu | \
        hyvä | selvä | näkemiin | hei hei | nähdään | oletko siellä | onko siellä ketään | kuka sinä olet | kuka olet | \
        mitä osaat | voitko auttaa | voitko auttaa minua | tarvitsen apua | minulla on kysymys"),
    ("pl", "cześć | hej | hejka | siema | siemka | witam | witaj | dzień dobry | dobry wieczór | dobranoc | dzien dobry | halo | \
        jak się masz | jak się pan ma | co słychać | co tam | jak leci | miło mi | miło cię poznać | dziękuję | dzięki | \
        dziękuję bardzo | bardzo dziękuję | wielkie dzięki | proszę | przepraszam | tak | nie | dobrze | dobra | super | \
        do widzenia | na razie | pa | pa pa | jesteś tam | jest tu ktoś | kim jesteś | jak masz na imię | co potrafisz | \
        czy możesz mi pomóc | możesz mi pomóc | pomożesz mi | potrzebuję pomocy | mam pytanie"),
    ("cs", "ahoj | čau | čauko | nazdar | zdravím | zdar | dobrý den | dobré ráno | dobré odpoledne | dobrý večer | dobrou noc | \
        jak se máš | jak se máte | jak se vede | jak to jde | co je nového | těší mě | děkuji | děkuju | díky | dík | \
        mockrát děkuji | děkuji moc | prosím | promiňte | promiň | ano | jo | ne | dobře | dobrá | super | na shledanou | \
        nashledanou | měj se | jsi tam | je tu někdo | kdo jsi | jak se jmenuješ | co umíš | můžeš mi pomoct | \
        můžeš mi pomoci | můžete mi pomoci | potřebuji pomoc | mám otázku | mám dotaz"),
    ("sk", "ahoj | čau | dobrý deň | dobré ráno | dobrý večer | dobrú noc | ako sa máš | ako sa máte | ďakujem | vďaka | \
        prosím | áno | nie | dovidenia | mám otázku"),
    ("ro", "bună | salut | salutare | servus | noroc | bună ziua | bună dimineața | bună seara | noapte bună | neața | \
        ce mai faci | ce faci | ce mai faceți | cum ești | cum merge | încântat | încântată | mulțumesc | mersi | \
        mulțumesc mult | mulțumesc frumos | mulțam | cu plăcere | te rog | vă rog | scuze | îmi pare rău | da | nu | bine | \
        foarte bine | la revedere | pa | ești acolo | e cineva aici | cine ești | cum te cheamă | ce poți face | \
        mă poți ajuta | poți să mă ajuți | am nevoie de ajutor | am o întrebare | o întrebare"),
    ("hu", "szia | sziasztok | szió | helló | halló | üdv | üdvözlöm | üdvözletem | jó napot | jó napot kívánok | jó reggelt | \
        jó estét | jó éjszakát | jó éjt | hogy vagy | hogy van | mi újság | mizu | mi a helyzet | örvendek | köszönöm | \
        köszi | kösz | köszönöm szépen | nagyon köszönöm | szívesen | kérem | kérlek | bocsánat | elnézést | igen | nem | \
        jó | jól | rendben | viszlát | viszontlátásra | ott vagy | van itt valaki | ki vagy | ki vagy te | hogy hívnak | \
        mit tudsz | tudsz segíteni | segítségre van szükségem | van egy kérdésem"),
    ("el", "γεια | γεια σου | γεια σας | γειά | χαίρετε | χαιρετώ | καλημέρα | καλησπέρα | καληνύχτα | καλό απόγευμα | \
        τι κάνεις | τι κάνετε | πώς είσαι | πώς είστε | πως πάει | τι νέα | χάρηκα | ευχαριστώ | ευχαριστώ πολύ | \
        παρακαλώ | συγγνώμη | με συγχωρείτε | ναι | όχι | εντάξει | καλά | ωραία | αντίο | τα λέμε | είσαι εκεί | \
        είναι κανείς εδώ | ποιος είσαι | ποια είσαι | πώς σε λένε | τι μπορείς να κάνεις | μπορείς να με βοηθήσεις | \
        χρειάζομαι βοήθεια | έχω μια ερώτηση | μια ερώτηση | geia sou | kalimera | kalispera | efxaristo"),
    ("tr", "merhaba | merhabalar | selam | selamlar | slm | mrb | selamün aleyküm | selamun aleyküm | aleyküm selam | günaydın | \
        iyi günler | iyi akşamlar | iyi geceler | tünaydın | nasılsın | nasılsınız | naber | n'aber | ne haber | \
        ne var ne yok | nasıl gidiyor | memnun oldum | teşekkürler | teşekkür ederim | çok teşekkürler | \
        çok teşekkür ederim | sağ ol | sağol | sağ olun | eyvallah | rica ederim | lütfen | pardon | özür dilerim | \
        evet | hayır | tamam | peki | iyi | güzel | hoşça kal | hoşçakal | görüşürüz | orada mısın | kimse var mı | \
        sen kimsin | kimsin | adın ne | neler yapabilirsin | ne yapabilirsin | bana yardım eder misin | \
        yardım eder misin | yardıma ihtiyacım var | bir sorum var"),
    ("ru", "привет | приветик | приветствую | здравствуй | здравствуйте | здрасьте | добрый день | добрый вечер | доброе утро | \
        доброй ночи | спокойной ночи | доброго дня | доброго времени суток | всем привет | здорово | хай | хэй | хелло | \
        салют | ку | как дела | как ты | как поживаешь | как поживаете | как жизнь | что нового | что делаешь | \
        приятно познакомиться | спасибо | спасибо большое | большое спасибо | благодарю | пожалуйста | не за что | \
        извини | извините | простите | да | нет | ага | угу | ок | окей | хорошо | ладно | понятно | отлично | \
        пока | до свидания | до встречи | ты тут | ты здесь | ты там | есть кто | есть кто живой | кто ты | ты кто | \
        кто ты такой | как тебя зовут | что ты умеешь | что ты можешь | можешь помочь | помоги мне | ты можешь мне помочь | \
        мне нужна помощь | нужна помощь | у меня вопрос | есть вопрос | у меня есть вопрос | тест | проверка | \
        это тест | алло | privet | poka"),
    ("uk", "привіт | вітаю | вітання | добрий день | доброго дня | добрий вечір | доброго вечора | доброго ранку | добрий ранок | \
        на добраніч | добраніч | здоровенькі були | як справи | як ти | як ся маєш | що нового | приємно познайомитися | \
        дякую | дуже дякую | щиро дякую | будь ласка | прошу | нема за що | вибач | вибачте | перепрошую | так | ні | добре | \
        гаразд | чудово | бувай | до побачення | ти тут | є хто | хто ти | як тебе звати | що ти вмієш | \
        можеш допомогти | можеш мені допомогти | мені потрібна допомога | маю питання | є питання | слава україні"),
    ("bg", "здравей | здравейте | здрасти | добър ден | добро утро | добър вечер | лека нощ | как си | как сте | благодаря | \
        мерси | моля | да | не | довиждане | имам въпрос"),
    ("sr", "zdravo | ćao | ćao svima | bok | dobar dan | dobro jutro | dobra večer | dobro veče | laku noć | kako si | kako ste | \
        šta ima | što ima | hvala | hvala puno | hvala lijepo | molim | da | ne | dobro | doviđenja | imam pitanje | \
        здраво | ћао | добар дан | добро јутро | добро вече | како си | хвала | молим"),
    ("ar", "مرحبا | مرحبا بك | أهلا | أهلا وسهلا | أهلين | هلا | هلا والله | هاي | هالو | السلام عليكم | السلام عليكم ورحمة الله | \
        السلام عليكم ورحمة الله وبركاته | سلام عليكم | سلام | وعليكم السلام | صباح الخير | صباح النور | مساء الخير | مساء النور | \
        تصبح على خير | كيف حالك | كيف حالكم | كيف الحال | كيفك | شلونك | ازيك | إزيك | عامل ايه | شو أخبارك | كيف أخبارك | \
        ما أخبارك | تحياتي | تشرفنا | شكرا | شكرا جزيلا | شكرا لك | شكرا جدا | مشكور | عفوا | من فضلك | لو سمحت | آسف | نعم | \
        أيوه | لا | حسنا | تمام | طيب | جيد | مع السلامة | وداعا | إلى اللقاء | هل أنت هنا | هل من أحد | من أنت | ما اسمك | \
        ماذا يمكنك أن تفعل | هل يمكنك مساعدتي | ممكن مساعدة | أحتاج مساعدة | لدي سؤال | عندي سؤال | ممكن سؤال | اختبار | تجربة | ههه"),
    ("fa", "سلام | سلام علیکم | درود | سلام خوبی | سلام خوبید | صبح بخیر | صبح به خیر | ظهر بخیر | عصر بخیر | شب بخیر | وقت بخیر | \
        روز بخیر | حالت چطوره | حال شما چطوره | حال شما چطور است | چطوری | چطورید | خوبی | خوبید | چه خبر | خسته نباشید | \
        خوشبختم | ممنون | ممنونم | مرسی | متشکرم | تشکر | سپاس | خیلی ممنون | خواهش میکنم | لطفا | ببخشید | بله | آره | نه | \
        باشه | خوب | خوبه | خداحافظ | بدرود | هستی | کسی هست | تو کی هستی | کی هستی | اسمت چیه | میتونی کمکم کنی | \
        می‌توانی کمکم کنی | کمک میخوام | یک سوال دارم | یه سوال دارم | سوال دارم | تست"),
    ("ur", "السلام علیکم | آداب | کیسے ہو | کیسے ہیں | آپ کیسے ہیں | کیا حال ہے | شکریہ | بہت شکریہ | جی | ہاں | نہیں | \
        براہ کرم | خدا حافظ"),
    ("he", "שלום | שלום לך | שלום לכם | היי | הי | הלו | אהלן | בוקר טוב | צהריים טובים | אחר צהריים טובים | ערב טוב | לילה טוב | \
        מה שלומך | מה שלומכם | מה נשמע | מה קורה | מה המצב | מה העניינים | נעים מאוד | נעים להכיר | תודה | תודה רבה | \
        המון תודה | בבקשה | סליחה | כן | לא | בסדר | אוקיי | אוקי | טוב | מעולה | יופי | להתראות | ביי | אתה שם | את שם | \
        יש מישהו | מי אתה | מי את | איך קוראים לך | מה אתה יכול לעשות | אתה יכול לעזור לי | את יכולה לעזור לי | \
        אני צריך עזרה | אני צריכה עזרה | יש לי שאלה | שאלה | בדיקה | טסט"),
    ("hi", "नमस्ते | नमस्कार | प्रणाम | हेलो | हैलो | हाय | सुप्रभात | शुभ प्रभात | शुभ संध्या | शुभ रात्रि | राम राम | जय श्री राम | \
        कैसे हो | कैसे हैं | कैसी हो | आप कैसे हैं | आप कैसे हो | तुम कैसे हो | क्या हाल है | क्या हाल हैं | क्या चल रहा है | धन्यवाद | \
        बहुत धन्यवाद | बहुत बहुत धन्यवाद | शुक्रिया | कृपया | माफ़ कीजिए | माफ कीजिए | हाँ | हां | जी | जी हाँ | नहीं | ठीक है | ठीक | \
        अच्छा | अलविदा | फिर मिलेंगे | आप कौन हैं | तुम कौन हो | आपका नाम क्या है | क्या आप मेरी मदद कर सकते हैं | \
        मुझे मदद चाहिए | मेरा एक सवाल है | एक सवाल है | namaste | namaskar | kaise ho | kya haal hai | kaise hain | \
        aap kaise hain | aap kaise ho | dhanyavad | shukriya | haan | nahi | theek hai | thik hai | accha"),
    ("bn", "নমস্কার | হ্যালো | হাই | আসসালামু আলাইকুম | আস সালামু আলাইকুম | সালাম | সুপ্রভাত | শুভ সকাল | শুভ সন্ধ্যা | শুভ রাত্রি | \
        শুভ অপরাহ্ন | কেমন আছো | কেমন আছ | কেমন আছেন | আপনি কেমন আছেন | তুমি কেমন আছো | কি খবর | কী খবর | ধন্যবাদ | \
        অনেক ধন্যবাদ | দয়া করে | দুঃখিত | হ্যাঁ | জি | না | ঠিক আছে | আচ্ছা | ভালো | বিদায় | আপনি কে | তুমি কে | তোমার নাম কি | \
        আপনার নাম কি | আমাকে সাহায্য করতে পারেন | আমার একটি প্রশ্ন আছে | একটা প্রশ্ন আছে"),
    ("ta", "வணக்கம் | ஹலோ | காலை வணக்கம் | மாலை வணக்கம் | எப்படி இருக்கிறீர்கள் | நன்றி | மிக்க நன்றி"),
    ("te", "నమస్కారం | నమస్తే | హలో | శుభోదయం | ఎలా ఉన్నారు | ధన్యవాదాలు"),
    ("id", "halo | hai | hallo | helo | assalamualaikum | assalamu'alaikum | assalamu alaikum | selamat pagi | selamat siang | \
        selamat sore | selamat malam | pagi | siang | sore | malam | apa kabar | apa kabar hari ini | gimana kabarnya | \
        bagaimana kabarmu | bagaimana kabar anda | salam | salam kenal | permisi | terima kasih | terimakasih | makasih | \
        terima kasih banyak | sama sama | sama-sama | tolong | maaf | ya | iya | tidak | nggak | baik | baiklah | oke | \
        bagus | siap | sampai jumpa | selamat tinggal | dadah | kamu siapa | siapa kamu | siapa anda | siapa namamu | \
        apa yang bisa kamu lakukan | bisa bantu saya | bisakah kamu membantu saya | bisa tolong bantu saya | \
        saya butuh bantuan | saya mau tanya | mau tanya | saya punya pertanyaan | tes | tes tes | wkwk | wkwkwk"),
    ("ms", "hai | helo | selamat petang | selamat tengah hari | apa khabar | terima kasih | tolong | boleh bantu saya"),
    ("tl", "kumusta | kamusta | kumusta ka | kamusta ka | magandang umaga | magandang hapon | magandang gabi | \
        magandang araw | salamat | maraming salamat | salamat po | oo | hindi po | opo"),
    ("vi", "xin chào | chào | chào bạn | xin chào bạn | chào em | chào anh | chào chị | chào buổi sáng | chào buổi tối | \
        chào buổi chiều | alo | a lô | hế lô | chúc ngủ ngon | bạn khỏe không | bạn có khỏe không | khỏe không | dạo này thế nào | \
        bạn thế nào | rất vui được gặp bạn | cảm ơn | cám ơn | cảm ơn bạn | cảm ơn nhiều | xin cảm ơn | làm ơn | vui lòng | \
        xin lỗi | vâng | dạ | ừ | không | được | tốt | tạm biệt | hẹn gặp lại | bạn là ai | bạn tên gì | bạn tên là gì | \
        bạn có thể làm gì | bạn có thể giúp tôi không | giúp tôi với | tôi cần giúp đỡ | tôi có một câu hỏi | tôi có câu hỏi | \
        cho tôi hỏi | cho mình hỏi"),
    ("th", "สวัสดี | สวัสดีครับ | สวัสดีค่ะ | สวัสดีคะ | สวัสดีจ้า | หวัดดี | หวัดดีครับ | หวัดดีค่ะ | ดี | ดีครับ | ดีค่ะ | ดีจ้า | ฮัลโหล | ฮาย | เฮลโล | \
        อรุณสวัสดิ์ | ราตรีสวัสดิ์ | สบายดีไหม | สบายดีมั้ย | สบายดีไหมครับ | สบายดีไหมคะ | เป็นยังไงบ้าง | เป็นไงบ้าง | ขอบคุณ | ขอบคุณครับ | \
        ขอบคุณค่ะ | ขอบคุณมาก | ขอบคุณมากครับ | ขอบคุณมากค่ะ | ขอโทษ | ขอโทษครับ | ขอโทษค่ะ | ใช่ | ไม่ | ครับ | ค่ะ | คะ | โอเค | ลาก่อน | \
        อยู่ไหม | มีใครอยู่ไหม | คุณคือใคร | คุณชื่ออะไร | ทำอะไรได้บ้าง | ช่วยหน่อย | ช่วยหน่อยครับ | ช่วยหน่อยค่ะ | ขอถามหน่อย | \
        มีคำถาม | ทดสอบ"),
    ("zh", "你好 | 您好 | 你好啊 | 你好呀 | 妳好 | 大家好 | 嗨 | 哈喽 | 哈啰 | 哈囉 | 嘿 | 喂 | 早 | 早安 | 早上好 | 上午好 | 中午好 | 下午好 | 晚上好 | 晚安 | 你好吗 | \
        你好嗎 | 您好吗 | 您好嗎 | 最近好吗 | 最近怎么样 | 你怎么样 | 最近如何 | 吃了吗 | 在吗 | 在嗎 | 在么 | 在不在 | 你在吗 | 你在嗎 | 有人吗 | 有人嗎 | 有人在吗 | \
        很高兴认识你 | 很高興認識你 | 谢谢 | 謝謝 | 谢谢你 | 謝謝你 | 谢谢您 | 多谢 | 多謝 | 非常感谢 | 感谢 | 感謝 | 不客气 | 请 | 請 | 请问 | 請問 | \
        请问一下 | 问一下 | 麻烦 | 麻烦你 | 不好意思 | 打扰了 | 对不起 | 對不起 | 抱歉 | 是 | 是的 | 不 | 不是 | 好 | 好的 | 好吧 | 行 | 可以 | 对 | 嗯 | 嗯嗯 | 哦 | 啊 | \
        哈 | 呵 | 嘻 | 没问题 | 再见 | 再見 | 拜拜 | 你是谁 | 你是誰 | 你叫什么 | 你叫什么名字 | 你叫什麼名字 | 你会什么 | 你能做什么 | 你可以做什么 | \
        你能帮我吗 | 能帮我吗 | 可以帮我吗 | 能帮我一下吗 | 帮帮我 | 我需要帮助 | 我有一个问题 | 我有个问题 | 有个问题 | 请教一下 | 测试 | 測試 | \
        测试一下 | 新年快乐 | ni hao | nihao | nin hao | xie xie"),
    ("ja", "こんにちは | こんにちわ | こんばんは | こんばんわ | おはよう | おはようございます | おやすみ | おやすみなさい | はじめまして | 初めまして | \
        よろしく | よろしくお願いします | 宜しくお願いします | よろしくお願いいたします | よろしくお願い致します | どうぞよろしくお願いします | \
        やあ | やほ | やっほー | おっす | おす | ハロー | ヘイ | ハイ | どうも | もしもし | 元気 | 元気ですか | お元気ですか | 元気？ | 調子はどう | 調子はどうですか | \
        最近どう | お疲れ様 | お疲れ様です | おつかれさま | おつかれさまです | お疲れさまです | お世話になります | お世話になっております | \
        いつもお世話になっております | ありがとう | ありがとうございます | ありがとうございました | どうもありがとう | どうもありがとうございます | \
        サンキュー | すみません | すいません | ごめん | ごめんなさい | 失礼します | お願いします | はい | うん | ええ | いいえ | いえ | いや | オッケー | 了解 | \
        了解です | 了解しました | わかりました | 分かりました | なるほど | そうですか | さようなら | さよなら | じゃあね | またね | バイバイ | いますか | \
        誰かいますか | あなたは誰 | あなたは誰ですか | 君は誰 | お名前は | 名前は | 何ができますか | 何ができるの | 手伝ってください | 手伝ってくれますか | \
        助けて | 助けてください | 質問があります | 質問です | 質問してもいいですか | 聞きたいことがあります | ちょっといいですか | テスト | テストです | \
        あの | あのー | えっと | ねえ | 笑 | konnichiwa | ohayo | arigato | arigatou"),
    ("ko", "안녕 | 안녕하세요 | 안녕하십니까 | 안뇽 | 하이 | 헬로 | 헬로우 | 여보세요 | 반가워 | 반가워요 | 반갑습니다 | 만나서 반가워요 | \
        만나서 반갑습니다 | 처음 뵙겠습니다 | 좋은 아침 | 좋은 아침입니다 | 좋은 아침이에요 | 좋은 하루 | 좋은 저녁 | 굿모닝 | 안녕히 주무세요 | 잘 자 | \
        잘 지내 | 잘 지내요 | 잘 지내세요 | 잘 지냈어 | 잘 지냈어요 | 어떻게 지내 | 어떻게 지내세요 | 어떻게 지내요 | 뭐해 | 뭐해요 | 고마워 | 고마워요 | \
        고맙습니다 | 감사해요 | 감사합니다 | 땡큐 | 수고하세요 | 잘 부탁드립니다 | 부탁해요 | 부탁드립니다 | 미안 | 미안해 | 미안해요 | \
        미안합니다 | 죄송합니다 | 죄송해요 | 실례합니다 | 저기요 | 저기 | 네 | 예 | 응 | 아니 | 아니요 | 아니오 | 알겠습니다 | 알겠어요 | 좋아 | 좋아요 | 오케이 | \
        잘 가 | 안녕히 가세요 | 안녕히 계세요 | 바이 | 또 봐 | 있어요 | 거기 있어요 | 누구 있어요 | 누구세요 | 누구야 | 넌 누구야 | 너는 누구야 | \
        당신은 누구입니까 | 이름이 뭐야 | 이름이 뭐예요 | 뭐 할 수 있어 | 도와줘 | 도와주세요 | 도와줄 수 있어 | 질문 있어요 | 질문이 있어요 | \
        질문이 있습니다 | 질문 있습니다 | 테스트 | ㅎㅇ | ㅎㅇㅎㅇ | ㄱㅅ | ㅇㅇ | ㄴㄴ | ㅋ | ㅎ | ㅋㅋ | ㅎㅎ | annyeong | annyeonghaseyo"),
    ("sw", "habari | habari yako | habari gani | hujambo | jambo | mambo vipi | shikamoo | salamu | asante | \
        asante sana | tafadhali | ndiyo | hapana | kwaheri"),
    ("ca", "bon dia | bona tarda | bona nit | com estàs | què tal | gràcies | moltes gràcies | si us plau | adéu"),
    ("et", "tere | tere hommikust | tere päevast | tere õhtust | kuidas läheb | aitäh | palun | nägemist"),
    ("lv", "sveiki | sveiks | čau | labdien | labrīt | labvakar | kā iet | paldies | lūdzu"),
    ("lt", "labas | sveiki | sveikas | laba diena | labas rytas | labas vakaras | kaip sekasi | ačiū | prašau"),
    ("ka", "გამარჯობა | გაუმარჯოს | დილა მშვიდობისა | როგორ ხარ | როგორ ხართ | მადლობა | დიახ | კი | არა"),
    ("hy", "բարեւ | բարև | բարև ձեզ | ողջույն | բարի լույս | ինչպես ես | ինչպես եք | շնորհակալություն | մերսի"),
    ("sq", "përshëndetje | tungjatjeta | mirëdita | mirëmëngjes | mirëmbrëma | si je | si jeni | faleminderit"),
    ("az", "salam | necəsən | necəsiniz | sabahınız xeyir | təşəkkür edirəm | sağ ol | çox sağ ol"),
    ("kk", "сәлем | сәлеметсіз бе | қалайсың | қалыңыз қалай | рахмет"),
    ("af", "goeie môre | goeie more | goeie dag | goeie naand | hoe gaan dit | baie dankie | dankie | asseblief"),
];

/// Whom people greet. They go with a greeting and say something alone: "GPT?", "AI".
pub(super) const GREETED: &str = "ai assistant bot chatbot chatgpt gpt claude copilot gemini llama grok deepseek mistral siri alexa \
    robot team guys folks people man there again now today \
    dear everyone all friend friends buddy mate bro dude sir madam";

/// Emoticons whose letters, digits and signs mean nothing, in lower case.
pub(super) const EMOTICONS: &str = ":d ;d =d xd :p ;p =p :-p :-d :3 <3 </3 :o :-o :0 ^^ ^_^ ^-^ >_< -_- =) =] :) :( :/ :-/ t_t o_o \
    o/ \\o uwu owo qwq orz m(__)m";
