/* Refreshes the accordion's headline when the checkpoint changes: gradio cannot listen across the settings bar. */
(function () {
    "use strict";

    function refresh() {
        ["txt2img", "img2img"].forEach(function (tab) {
            const button = gradioApp().querySelector("#" + tab + "_fouriscale_refresh");
            if (button) button.click();
        });
    }

    let checkpoint = null;
    onUiLoaded(function () {
        refresh();
        onOptionsChanged(function () {
            const now = opts.sd_checkpoint_hash || opts.sd_model_checkpoint;
            if (now !== checkpoint) {
                checkpoint = now;
                refresh();
            }
        });
    });
})();
