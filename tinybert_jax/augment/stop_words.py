"""English words that carry grammar rather than content: augmentation does not replace them."""

_TEXT = """
a an the this that these those some any no every each either neither both all few many much more most less least
several other others another such same own enough half

i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
herself it its itself they them their theirs themselves one oneself
who whom whose which what whoever whatever whichever
someone somebody something anyone anybody anything everyone everybody everything nobody nothing none

be am is are was were been being have has had having do does did doing done
can could may might must shall should will would ought need dare let

about above across after against along alongside amid among amongst around as at before behind below beneath beside
besides between beyond by despite down during except for from in inside into like minus near of off on onto out
outside over past per plus since than through throughout till to toward towards under underneath unlike until unto
up upon versus via with within without

and but or nor so yet if then else because although though unless while whereas whether lest once
when whenever where wherever why how however therefore thus hence moreover

not never ever always often sometimes also too very quite rather just only even still already again almost
here there now today further together

s t d m ll re ve don didn doesn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn mustn needn
"""

STOP_WORDS = frozenset(_TEXT.split())
