; thumbnails were here
; PrusaSlicer 2.6.0 on Windows
G28
; layer_height = nonsense
; nozzle_diameter = 0.25
; first_layer_height = 50%
