; <IceSL 2.5.3>
; bed_temp_degree_c : 55
; chamber_temp_degree_c : 25
; estimated_print_time_s : 1234
; extruder_temp_degree_c_0 : 195
; filament_name : white
; filament_type : PLA
; filament_used_g : 5.5
; filament_used_mm : 1850.5
; layer_count : 77
; nozzle_diameter_mm_0 : 0.4
; print_height_mm : 15.4
; z_layer_height_first_layer_mm : 0.3
; z_layer_height_mm : 0.2
G28
