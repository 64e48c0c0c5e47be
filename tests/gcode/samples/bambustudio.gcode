; HEADER_BLOCK_START
; BambuStudio 01.09.05.51
; model printing time: 20m 30s; total estimated time: 1h 27m 10s
; total layer number: 80
; total filament length [mm] : 1234.50,100.00
; total filament volume [cm^3] : 2969.24,240.5
; total filament weight [g] : 3.71,0.30
; max_z_height: 16.00
; HEADER_BLOCK_END
; CONFIG_BLOCK_START
; chamber_temperatures = 40
; filament_colour = #FFFFFF;#000000
; filament_settings_id = "Bambu PLA Basic @BBL X1C"
; filament_type = PLA;PLA
; hot_plate_temp_initial_layer = 55
; initial_layer_print_height = 0.2
; layer_height = 0.16
; nozzle_diameter = 0.4
; nozzle_temperature = 220,220
; nozzle_temperature_initial_layer = 222
; printer_model = Bambu Lab X1 Carbon
; CONFIG_BLOCK_END
M190 S55
G28
; CHANGE_LAYER
G1 X1 Y1 Z.2 E.1 F1200
