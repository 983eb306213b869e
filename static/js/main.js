// Everything that moves. Each module says which data- attributes it reads; without JavaScript every page and action still works.
import "./theme.js";
import "./dialogs.js";
import "./clocks.js";
import "./keys.js";
import "./copy.js";
import "./parts.js";
import "./actions.js";
import "./forms.js";
import "./selection.js";
import "./palette.js";
import "./preview.js";
import "./live.js";
